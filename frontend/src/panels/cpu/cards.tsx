import { fromSeconds, type Ms } from "../../time.ts";
import { clean, clock, count, duration, percent } from "../../ui/format.ts";
import { BusyChart } from "./busychart.tsx";
import { busyOver, graphOf, rowsOf, weigh } from "./model/graph.ts";
import { requestOf } from "./model/history.ts";
import { type CpuStore, ONE_SAMPLE_MS } from "./store.ts";

const RECENT: Ms = 60_000;
// So that the whole overview fits on a laptop's screen.
const SHOWN = 5;

/** The last minute, or as much of it as there is. */
function recent(store: CpuStore) {
  const { fine, since } = store.history.value;
  const to = fine.at(-1)?.until ?? 0;
  return { from: Math.max(to - RECENT, since ?? 0), to };
}

const CPU = { thread: null, request: null, busyOnly: false, clock: "cpu", waitingToo: false } as const;

/** Where a server samples time alone, nothing here is CPU. */
function Untold() {
  return <p class="soft">This server samples wall time. How much of that is CPU time it does not tell.</p>;
}

/** What the shares are of. */
function CardBasis({ store, what, all, since }: { store: CpuStore; what: string; all: number; since: number }) {
  return (
    <p class="soft">
      {what}, of {store.amount(all)} since {clock(since)}
    </p>
  );
}

function Off({ store }: { store: CpuStore }) {
  return (
    <div class="card-off">
      <p class="soft">{store.running.value ? "Nothing sampled yet." : "CPU sampling is off."}</p>
      {!store.running.value && (
        <button
          class="button small"
          type="button"
          disabled={store.busy.value || !store.link.open}
          onClick={() => void store.start()}
        >
          Start sampling
        </button>
      )}
    </div>
  );
}

/** How much CPU the process takes, now and over the last minutes. */
export function BusyCard({ store }: { store: CpuStore }) {
  if (store.timed.value && !store.tellsCpu) return <Untold />;
  const buckets = [...store.history.value.fine];
  if (!buckets.length || !store.running.value) return <Off store={store} />;
  // Of a server that tells samples alone, those of either clock.
  const by = store.timed.value ? "cpu" : store.clock.value;
  const { at, busy } = busyOver(buckets, { ...CPU, clock: by });
  const lately = busy.slice(-5);
  const now = lately.reduce((sum, share) => sum + share, 0) / (lately.length || 1);
  return (
    <>
      <p class="figure-large">
        {store.timed.value ? percent(now) : count(Math.round(fromSeconds(now) / ONE_SAMPLE_MS))}{" "}
        <span class="soft">{store.timed.value ? "of one core" : "samples a second"}, last 5 s</span>
      </p>
      {store.unseen.value && <p class="soft">Without what is not seen: {clean(store.unseen.value)}.</p>}
      <BusyChart store={store} clock={by} at={at} busy={busy} height={92} />
    </>
  );
}

/** The functions that took most of the last minute by themselves. */
export function TopCard({ store }: { store: CpuStore }) {
  if (store.timed.value && !store.tellsCpu) return <Untold />;
  const span = recent(store);
  const history = store.history.value;
  const weights = weigh(history, span, { ...CPU, clock: store.timed.value ? "cpu" : store.clock.value });
  if (!weights.size || !store.running.value) return <Off store={store} />;
  const graph = graphOf(history, weights);
  const all = graph.total[0] || 1;
  const rows = rowsOf(graph)
    .sort((a, b) => b.self - a.self)
    .slice(0, SHOWN);
  return (
    <>
      <ol class="bars">
        {rows.map((row) => (
          <li key={row.frame.label + row.frame.file} title={`${clean(row.frame.file)}:${row.frame.line}`}>
            <span class="bar-back" style={{ width: `${((row.self / all) * 100).toFixed(1)}%` }} />
            <span class="mono name">{clean(row.frame.label)}</span>
            <span class="number">{percent(row.self / all)}</span>
          </li>
        ))}
      </ol>
      <CardBasis store={store} what={store.timed.value ? "own CPU time" : "own samples"} all={all} since={span.from} />
    </>
  );
}

/** Which requests took the last minute. */
export function RequestsCard({ store }: { store: CpuStore }) {
  if (store.link.handshake.value && !store.timed.value) return <p class="soft">This server does not tell.</p>;
  if (!store.tellsCpu) return <Untold />;
  const span = recent(store);
  const history = store.history.value;
  const weights = weigh(history, span, CPU);
  const sums = new Map<string | null, number>();
  let all = 0;
  for (const [entry, weight] of weights) {
    const name = history.requests[requestOf(entry)] ?? null;
    sums.set(name, (sums.get(name) ?? 0) + weight);
    all += weight;
  }
  if (!all || !store.running.value) return <Off store={store} />;
  const rows = [...sums].sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  return (
    <>
      <ol class="bars requests">
        {rows.map(([name, weight]) => (
          <li key={name ?? ""}>
            <span class="bar-back" style={{ width: `${((weight / all) * 100).toFixed(1)}%` }} />
            <span class="mono name">{name === null ? "outside of requests" : clean(name)}</span>
            <span class="number">
              {percent(weight / all)} <span class="soft">{duration(weight)}</span>
            </span>
          </li>
        ))}
      </ol>
      <CardBasis store={store} what="CPU time" all={all} since={span.from} />
    </>
  );
}
