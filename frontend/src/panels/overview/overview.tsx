import "./overview.css";
import type { Card } from "../panel.ts";

/** The cards of all panels on one screen. */
export function Overview({ cards }: { cards: readonly Card[] }) {
  return (
    <div class="panel">
      <h1>Overview</h1>
      <div class="cards">
        {cards.map((card) => (
          <section class={`box card width-${card.width ?? 1}`} key={card.title} aria-label={card.title}>
            <h2>{card.title}</h2>
            <card.View />
          </section>
        ))}
      </div>
    </div>
  );
}
