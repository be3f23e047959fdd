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
    if (store.series.rss.last === null) return <p class="soft">{waiting(feed)}</p>;
    return <BytesChart store={store} span={spanOf(store, TEN_MINUTES)} height={150} bare />;
  };
  const Collector = () => {
    store.version.value;
    if (!store.collections) return <p class="soft">{feed.watching.value ? "No collection yet." : waiting(feed)}</p>;
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

function waiting(feed: MemoryFeed): string {
  return feed.watching.value ? "Waiting for the first figures…" : "Not watched: start it in the Memory panel.";
}
