import { bytes, count, duration } from "../../ui/format.ts";
import type { Card } from "../panel.ts";
import { BytesChart, spanOf } from "./charts.tsx";
import type { MemoryFeed } from "./feed.ts";

const TEN_MINUTES = 600_000;

/** The overview's share: memory over the last ten minutes, and what the collector takes. */
export function memoryCards(feed: MemoryFeed): Card[] {
  const { store } = feed;
  const Chart = () => {
    store.version.value;
    if (store.series.rss.last === null) return <Waiting feed={feed} />;
    return <BytesChart store={store} span={spanOf(store, TEN_MINUTES)} height={150} bare />;
  };
  const Collector = () => {
    store.version.value;
    if (!store.collections)
      return feed.watching.value ? <p class="soft">No collection yet.</p> : <Waiting feed={feed} />;
    return (
      <dl class="card-facts">
        <dt>Longest pause</dt>
        <dd>{duration(store.longestPause * 1000)}</dd>
        <dt>Collections</dt>
        <dd>{count(store.collections)}</dd>
        <dt>Resident</dt>
        <dd>{store.series.rss.last === null ? "–" : bytes(store.series.rss.last)}</dd>
      </dl>
    );
  };
  return [
    { title: "Memory", width: 2, order: 20, View: Chart },
    { title: "Garbage collector", width: 1, order: 40, View: Collector },
  ];
}

function Waiting({ feed }: { feed: MemoryFeed }) {
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
