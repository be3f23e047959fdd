import { clean, count, duration, percent } from "../../ui/format.ts";
import { BusyChart } from "./busychart.tsx";
import { busyOver, graphOf, rowsOf, weigh } from "./model/graph.ts";
import { requestOf } from "./model/history.ts";
import { type CpuStore, ONE_SAMPLE_US } from "./store.ts";

const RECENT_MS = 60_000;
// So that the whole overview fits on a laptop's screen.
const SHOWN = 5;

function recent(store: CpuStore) {
  store.version.value;
  const to = store.history.fine.at(-1)?.until ?? 0;
  return { from: to - RECENT_MS, to };
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

const BUSY: { readonly [clock: string]: string } = { wall: "running or ready to run", cpu: "of one core" };

/** How busy the process is, now and over the last minutes. */
export function BusyCard({ store }: { store: CpuStore }) {
  store.version.value;
  const buckets = [...store.history.fine];
  if (!buckets.length || !store.running.value) return <Off store={store} />;
  const { at, busy } = busyOver(buckets);
  const lately = busy.slice(-5);
  const now = lately.reduce((sum, share) => sum + share, 0) / (lately.length || 1);
  return (
    <>
      <p class="figure-large">
        {store.timed.value ? percent(now) : count(Math.round((now * 1e6) / ONE_SAMPLE_US))}{" "}
        <span class="soft">{store.timed.value ? BUSY[store.clock.value] : "samples a second"}, last 5 s</span>
      </p>
      <BusyChart store={store} at={at} busy={busy} height={92} />
    </>
  );
}

/** The functions that took most of the last minute by themselves. */
export function TopCard({ store }: { store: CpuStore }) {
  const span = recent(store);
  const weights = weigh(store.history, span, { thread: null, request: null, busyOnly: true });
  if (!weights.size || !store.running.value) return <Off store={store} />;
  const graph = graphOf(store.history, weights);
  const all = graph.total[0] || 1;
  const rows = rowsOf(graph)
    .sort((a, b) => b.self - a.self)
    .slice(0, SHOWN);
  return (
    <ol class="bars">
      {rows.map((row) => (
        <li key={row.frame.label + row.frame.file} title={`${clean(row.frame.file)}:${row.frame.line}`}>
          <span class="bar-back" style={{ width: `${((row.self / all) * 100).toFixed(1)}%` }} />
          <span class="mono name">{clean(row.frame.label)}</span>
          <span class="number">{percent(row.self / all)}</span>
        </li>
      ))}
    </ol>
  );
}

/** Which requests took the last minute. */
export function RequestsCard({ store }: { store: CpuStore }) {
  if (store.link.handshake.value && !store.timed.value) return <p class="soft">This server does not tell.</p>;
  const span = recent(store);
  const weights = weigh(store.history, span, { thread: null, request: null, busyOnly: true });
  const sums = new Map<string | null, number>();
  let all = 0;
  for (const [entry, weight] of weights) {
    const name = store.history.requests[requestOf(entry)] ?? null;
    sums.set(name, (sums.get(name) ?? 0) + weight);
    all += weight;
  }
  if (!all || !store.running.value) return <Off store={store} />;
  const rows = [...sums].sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  return (
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
  );
}
