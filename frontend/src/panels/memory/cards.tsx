import type { Ms } from "../../time.ts";
import { count, counted, duration } from "../../ui/format.ts";
import type { Card } from "../panel.ts";
import { BytesChart, spanOf } from "./charts.tsx";
import type { MemoryFeed } from "./feed.ts";

const TEN_MINUTES: Ms = 600_000;

/** The overview's share: memory over the last ten minutes, and what the collector takes. */
export function memoryCards(feed: MemoryFeed): Card[] {
  const { store } = feed;
  const Chart = () => {
    const words = feed.words.value;
    const figures = store.figures.value;
    const { total, heap, live } = figures.series;
    const sized = total.last !== null || heap.last !== null;
    if (!sized && live.last === null) return <NoFigures feed={feed} />;
    const pauses = figures.collections
      ? `${words.pause.title} ${duration(figures.longestPause)} in ${counted(figures.collections, "garbage collection")}`
      : "No garbage collection yet";
    return (
      <>
        {sized ? (
          <BytesChart store={store} words={words} span={spanOf(figures, TEN_MINUTES)} height={120} bare />
        ) : (
          <p class="figure-large">
            {count(live.last ?? 0)} <span class="soft">live {live.last === 1 ? "object" : "objects"}</span>
          </p>
        )}
        <p class="soft">{pauses}</p>
      </>
    );
  };
  return [{ title: "Memory", width: 2, order: 20, View: Chart }];
}

function NoFigures({ feed }: { feed: MemoryFeed }) {
  if (feed.watching.value) return <p class="soft">Waiting for the first figures…</p>;
  return (
    <div class="card-off">
      <p class="soft">Memory is not watched.</p>
      <button class="button small" type="button" disabled={!feed.link.open} onClick={() => void feed.start()}>
        Start watching
      </button>
    </div>
  );
}
