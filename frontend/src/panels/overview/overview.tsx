import "./overview.css";
import type { App } from "../../app.tsx";

/** The cards of all panels on one screen. */
export function Overview({ app }: { app: App }) {
  const cards = app.mounted.flatMap(({ panel }) => panel.cards ?? []).sort((a, b) => a.order - b.order);
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
