import { useSignal } from "@preact/signals";
import { fromSeconds, type Span, toSeconds } from "../../time.ts";
import { lingering } from "../../ui/costwords.ts";
import { bytes, clean, count, counted, duration } from "../../ui/format.ts";
import { Segments } from "../../ui/segments.tsx";
import { BlocksChart, BytesChart, LiveChart, PausesChart, perSecond, RatesChart, spanOf } from "./charts.tsx";
import { ClassTable } from "./classtable.tsx";
import type { MemoryFeed } from "./feed.ts";
import { GcStats } from "./gctable.tsx";
import { SiteTable } from "./sitetable.tsx";
import type { MemoryFigures, Metric } from "./store.ts";

const SPANS = [
  ["5", "5 min"],
  ["30", "30 min"],
  ["120", "2 h"],
  ["1440", "24 h"],
] as const;

export function MemoryView({ feed }: { feed: MemoryFeed }) {
  const minutes = useSignal<(typeof SPANS)[number][0]>("5");
  const { store, watching } = feed;
  const words = feed.words.value;
  const figures = store.figures.value;
  // Before the first figures nobody knows which there will be; then those that did not come are not known there.
  const told = (...metrics: Metric[]) =>
    figures.latest === null || metrics.some((metric) => figures.series[metric].last !== null);
  const off = figures.latest === null && !watching.value;
  const span = spanOf(figures, Number(minutes.value) * 60_000);
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
            <WatchButton feed={feed} />
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
          <FigureRow feed={feed} />
          <div class="charts">
            {told("total", "heap") && (
              <div class="box">
                <BytesChart store={store} words={words} span={span} />
              </div>
            )}
            <div class="box">
              <LiveChart store={store} span={span} />
            </div>
            <div class="box">
              <Rates feed={feed} span={span} />
            </div>
            <div class="box">
              <PausesChart store={store} words={words} span={span} />
            </div>
            {told("blocks") && (
              <div class="box">
                <BlocksChart store={store} words={words} span={span} />
              </div>
            )}
          </div>
          <ClassTable feed={feed} />
          <SiteTable feed={feed} />
          <GcStats feed={feed} />
        </>
      )}
    </div>
  );
}

/** Births and deaths, or how to have them counted. */
function Rates({ feed, span }: { feed: MemoryFeed; span: Span }) {
  const { store } = feed;
  const { born, died } = store.figures.value.series;
  const known = born.last !== null || died.last !== null;
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

function WatchButton({ feed }: { feed: MemoryFeed }) {
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
          Watching switches on object events, collections and statistics, for every client of this server. Every object
          made and freed is reported then, which costs time where many are; this server does not tell how much. Watching{" "}
          {lingering(feed.link.handshake.value)}.
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
      {`Counted by ${clean(census.method)}${census.took === null ? "" : ` in ${duration(census.took)}`}. ${clean(census.note)}`}
    </p>
  );
}

function FigureRow({ feed }: { feed: MemoryFeed }) {
  const { series, latest, earliest, collections, longestPause } = feed.store.figures.value;
  const { total, heap, live, born, died } = series;
  const words = feed.words.value;
  const to = latest ?? 0;
  const seconds = Math.min(10, Math.max(1, toSeconds(to - (earliest ?? to))));
  const rate = (of: MemoryFigures["series"]["born"]): string => {
    const { times, sum } = of.read(to - fromSeconds(seconds), to);
    return times.length ? perSecond(sum.reduce((a, b) => a + b, 0) / seconds) : "–";
  };
  const lately = `Over the last ${Math.round(seconds)} s`;
  const figures: [string, string, string][] = [
    [words.live.title, live.last === null ? "–" : count(live.last), words.live.hint],
    ["Born", rate(born), lately],
    ["Died", rate(died), lately],
    [
      words.pause.title,
      collections ? duration(longestPause) : "–",
      `${counted(collections, "collection")} seen${words.pause.hint}`,
    ],
  ];
  if (heap.last !== null) figures.unshift([words.heap.title, bytes(heap.last), words.heap.hint]);
  if (total.last !== null) figures.unshift([words.total.title, bytes(total.last), words.total.hint]);
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
