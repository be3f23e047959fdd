import { useSignal } from "@preact/signals";
import { bytes, clean, count, duration } from "../../ui/format.ts";
import { Segments } from "../../ui/segments.tsx";
import {
  BlocksChart,
  BytesChart,
  LiveChart,
  PausesChart,
  perSecond,
  RatesChart,
  type Span,
  spanOf,
} from "./charts.tsx";
import { Classes } from "./classes.tsx";
import type { MemoryFeed } from "./feed.ts";
import { GcStats } from "./gcstats.tsx";
import { Sites } from "./sites.tsx";

const SPANS = [
  ["5", "5 min"],
  ["30", "30 min"],
  ["120", "2 h"],
  ["1440", "24 h"],
] as const;

export function MemoryView({ feed }: { feed: MemoryFeed }) {
  const minutes = useSignal<(typeof SPANS)[number][0]>("5");
  const { store, watching } = feed;
  store.version.value;
  const off = store.latest === null && !watching.value;
  const span = spanOf(store, Number(minutes.value) * 60_000);
  return (
    <div class="panel memory">
      <div class="title">
        <h1>Memory</h1>
        {!off && (
          <div class="toolbar">
            <Segments
              label="Time shown"
              value={minutes.value}
              choices={SPANS}
              onChoose={(length) => {
                minutes.value = length;
              }}
            />
            {feed.source.value === "profile" && store.traced.value && (
              <button class="button" type="button" onClick={() => void feed.traceAll(false)}>
                Stop tracing
              </button>
            )}
            <Switch feed={feed} />
          </div>
        )}
      </div>
      {feed.problem.value && (
        <p class="notice bad" role="alert">
          {clean(feed.problem.value)}
        </p>
      )}
      {off ? (
        <Beginning feed={feed} />
      ) : (
        <>
          <SourceNote feed={feed} />
          <Figures feed={feed} />
          <div class="charts">
            <div class="box">
              <BytesChart store={store} span={span} />
            </div>
            <div class="box">
              <LiveChart store={store} span={span} />
            </div>
            <div class="box">
              <Rates feed={feed} span={span} />
            </div>
            <div class="box">
              <PausesChart store={store} span={span} />
            </div>
            <div class="box">
              <BlocksChart store={store} span={span} />
            </div>
          </div>
          <Classes feed={feed} />
          <Sites feed={feed} />
          <GcStats feed={feed} />
        </>
      )}
    </div>
  );
}

/** Births and deaths, or how to have them counted. */
function Rates({ feed, span }: { feed: MemoryFeed; span: Span }) {
  const { store } = feed;
  const known = store.series.born.last !== null || store.series.died.last !== null;
  if (known || feed.source.value === "events") return <RatesChart store={store} span={span} />;
  return (
    <div class="empty">
      <h3>Births and deaths</h3>
      {store.traced.value ? (
        <p>No traced object has been born or has died yet.</p>
      ) : (
        <>
          <p>
            They are not traced. Tracing switches on object events for every client; where many objects are made it
            takes the application a few per cent.
          </p>
          <button class="button small" type="button" onClick={() => void feed.traceAll(true)}>
            Trace births and deaths
          </button>
        </>
      )}
    </div>
  );
}

function Switch({ feed }: { feed: MemoryFeed }) {
  const on = feed.watching.value;
  const forAll = feed.source.value === "events" ? " for every client of this server" : "";
  return (
    <button
      class={`button ${on ? "" : "primary"}`}
      type="button"
      title={on ? `Stops gathering${forAll}` : `Starts gathering${forAll}`}
      onClick={() => void (on ? feed.stop() : feed.start())}
    >
      {on ? "Stop watching" : "Start watching"}
    </button>
  );
}

/** Before anything is known: what it would cost to know. */
function Beginning({ feed }: { feed: MemoryFeed }) {
  const events = feed.source.value === "events";
  return (
    <div class="box empty">
      <h2>Memory is not watched</h2>
      {events ? (
        <p>
          Watching switches on object events, collections and statistics, for every client of this server. Each object
          that is followed costs the application some time: a few per cent where many are made.
        </p>
      ) : (
        <p>Watching counts the living objects every few seconds, for at most one per cent of a processor.</p>
      )}
      <button class="button primary" type="button" onClick={() => void feed.start()}>
        Start watching
      </button>
    </div>
  );
}

function SourceNote({ feed }: { feed: MemoryFeed }) {
  const census = feed.store.census.value;
  if (feed.source.value === "events") {
    return (
      <p class="notice">
        <span>
          This server has no <code>memory_profile</code>: living objects are those seen being made and not seen dying
          since watching began, as far as its events tell. It is switched on for every client.
        </span>
      </p>
    );
  }
  if (!census?.method && !census?.note) return null;
  return (
    <p class="notice">
      {`Counted by ${clean(census.method)}${census.tookMs === null ? "" : ` in ${duration(census.tookMs * 1000)}`}. ${clean(census.note)}`}
    </p>
  );
}

function Figures({ feed }: { feed: MemoryFeed }) {
  const { store } = feed;
  const { rss, heap, live } = store.series;
  const rate = (born: boolean): number | null => {
    const { times, sum } = (born ? store.series.born : store.series.died).read(
      (store.latest ?? 0) - 10_000,
      store.latest ?? 0,
    );
    return times.length ? sum.reduce((a, b) => a + b, 0) / 10 : null;
  };
  const figures: [string, string, string][] = [
    ["Resident memory", rss.last === null ? "–" : bytes(rss.last), "What the system counts against the process"],
    ["Heap", heap.last === null ? "–" : bytes(heap.last), "Without mapped files"],
    ["Live objects", live.last === null ? "–" : count(live.last), "At the last count"],
    ["Born", shownRate(rate(true)), "Over the last ten seconds"],
    ["Died", shownRate(rate(false)), "Over the last ten seconds"],
    [
      "Longest pause",
      store.collections ? duration(store.longestPause * 1000) : "–",
      `${count(store.collections)} collections seen`,
    ],
  ];
  return (
    <dl class="figures">
      {figures.map(([name, value, hint]) => (
        <div class="box" key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
          <dd class="soft">{hint}</dd>
        </div>
      ))}
    </dl>
  );
}

function shownRate(rate: number | null): string {
  return rate === null ? "–" : perSecond(rate);
}
