import { lingering } from "../../ui/costwords.ts";
import { brief, clean, clock, counted, duration, percent } from "../../ui/format.ts";
import { SearchField } from "../../ui/search.tsx";
import { Segments } from "../../ui/segments.tsx";
import { BusyChart } from "./busychart.tsx";
import { Controls } from "./controls.tsx";
import { Flame } from "./flame.tsx";
import { FunctionTable } from "./functiontable.tsx";
import { sum } from "./model/graph.ts";
import type { Clock } from "./model/history.ts";
import { matches } from "./paint.ts";
import { Save } from "./save.tsx";
import type { CpuSelection, ShownStretch } from "./selection.ts";

/** Milliseconds, or all. */
const WINDOWS: readonly (readonly [string, string])[] = [
  ["10000", "Last 10 s"],
  ["60000", "Last minute"],
  ["300000", "Last 5 minutes"],
  ["900000", "Last 15 minutes"],
  ["3600000", "Last hour"],
  ["all", "Since the start"],
];

const TIMELINES: { readonly [clock in Clock]: string } = {
  cpu: "CPU time, of one core",
  wall: "Wall time, of how many at once",
};

/** The profile: where the time goes, over which stretch, of which requests and threads. */
export function CpuView({ view }: { view: CpuSelection }) {
  const { store } = view;
  const empty = store.history.value.totalSamples === 0;
  return (
    <div class="panel">
      <div class="title">
        <h1>CPU</h1>
        <Controls store={store} />
      </div>
      <Problems view={view} />
      {empty ? <Empty view={view} /> : <Profile view={view} />}
    </div>
  );
}

function Problems({ view }: { view: CpuSelection }) {
  const { problem, lostMs, unseen } = view.store;
  return (
    <>
      {problem.value && (
        <p class="notice bad" role="alert">
          {clean(problem.value)}
        </p>
      )}
      {unseen.value && <p class="notice warn">Not sampled: {clean(unseen.value)}.</p>}
      {lostMs.value > 0 && (
        <p class="notice warn">
          {duration(lostMs.value)} were sampled but not kept for this page: it could not ask in time.
        </p>
      )}
    </>
  );
}

function Empty({ view }: { view: CpuSelection }) {
  const { store } = view;
  return (
    <div class="box empty">
      {store.running.value ? (
        <>
          <h2>Nothing sampled yet</h2>
          <p>
            {store.both.value
              ? "The first samples are on their way."
              : "On the CPU clock a process that only waits gives no samples. Send it requests, or choose wall time to see where it waits."}
          </p>
        </>
      ) : (
        <>
          <h2>See where the time goes</h2>
          <p>
            Sampling looks at the running code many times a second. It slows the process{" "}
            {store.timed.value && "a little"}, for everybody who uses it, and {lingering(store.link.handshake.value)}.
          </p>
          <button
            class="button primary"
            type="button"
            disabled={store.busy.value || !store.link.open}
            onClick={() => void store.start()}
          >
            Start sampling
          </button>
        </>
      )}
    </div>
  );
}

function Profile({ view }: { view: CpuSelection }) {
  const { store } = view;
  const graph = view.graph.value;
  const search = view.search.value.trim().toLowerCase();
  const all = graph.total[0] ?? 0;
  const before = graph.totalBefore ? (graph.totalBefore[0] ?? 0) : null;
  return (
    <>
      <Timeline view={view} />
      <div class="box">
        <header class="cpu-head">
          <Choices view={view} />
          <Comparing view={view} />
        </header>
        <div class="inside cpu-inside">
          {all <= 0 ? (
            <p class="empty">
              {store.clock.value === "cpu"
                ? "No CPU time was used in this stretch, with these filters. Wall time shows what waits."
                : "Nothing was sampled in this stretch, with these filters."}
            </p>
          ) : view.display.value === "flame" ? (
            <>
              <ProfileBasis view={view} />
              <Flame graph={graph} search={search} focus={view.focus} amount={(weight) => store.amount(weight)} />
              <Legend view={view} found={search ? foundShare(view, search) : null} />
            </>
          ) : (
            <>
              <ProfileBasis view={view} />
              <FunctionTable
                rows={view.rows.value}
                all={all}
                amount={(weight) => store.amount(weight)}
                allBefore={before}
                search={search}
                onPick={(label) => {
                  view.search.value = label;
                  view.display.value = "flame";
                }}
              />
            </>
          )}
        </div>
      </div>
    </>
  );
}

/** What is shown below: of which clock how much, and from when to when. */
function ProfileBasis({ view }: { view: CpuSelection }) {
  const { from, to } = view.stretch.value;
  const all = sum(view.weights.value);
  return (
    <p class="soft">
      {view.unit.value}: {view.store.amount(all)}
      {view.store.timed.value && to > from && `, ${rate(all / (to - from), view.store.clock.value)}`} · {clock(from)} to{" "}
      {clock(to)} ({duration(to - from)})
    </p>
  );
}

function rate(share: number, by: Clock): string {
  return by === "cpu" ? `${percent(share)} of one core` : `${share.toFixed(1)} at once on average`;
}

function Timeline({ view }: { view: CpuSelection }) {
  const { store } = view;
  const { at, busy } = view.timeline.value;
  const { totalSamples, since } = store.history.value;
  const window = view.window.value;
  const timed = store.timed.value;
  return (
    <div class="box">
      <header>
        <h2>{timed ? TIMELINES[store.clock.value] : "Samples a second"}</h2>
        <span class="soft">
          {counted(totalSamples, "sample")}
          {since !== null && ` since ${clock(since)}`}
          {window.kind === "marked" && ` · ${clock(window.from)} to ${clock(window.to)} is shown below`}
          {window.kind !== "marked" && " · drag to look at a stretch"}
        </span>
      </header>
      <BusyChart
        store={store}
        clock={store.clock.value}
        at={at}
        busy={busy}
        height={84}
        onSelect={(from, to) => {
          view.window.value = { kind: "marked", from, to };
        }}
      />
    </div>
  );
}

function Choices({ view }: { view: CpuSelection }) {
  const { store } = view;
  const window = view.window.value;
  const filter = view.filter.value;
  const { threads } = store.history.value;
  const chosen = window.kind === "last" ? String(window.length) : window.kind;
  return (
    <div class="toolbar cpu-choices">
      <Segments
        label="Display"
        value={view.display.value === "table" ? "table" : view.inverse.value ? "inverse" : "flame"}
        choices={[
          ["flame", "Flame graph"],
          ["inverse", "Inverse"],
          ["table", "Table"],
        ]}
        onChoose={(value) => {
          view.display.value = value === "table" ? "table" : "flame";
          if (value !== "table") {
            if (view.inverse.value !== (value === "inverse")) view.focus.value = [];
            view.inverse.value = value === "inverse";
          }
        }}
      />
      <select
        class="field"
        aria-label="Stretch of time"
        value={chosen}
        onChange={(event) => {
          view.window.value = windowOf(event.currentTarget.value);
        }}
      >
        {window.kind === "marked" && <option value="marked">Marked stretch</option>}
        {WINDOWS.map(([id, words]) => (
          <option key={id} value={id}>
            {words}
          </option>
        ))}
      </select>
      {view.requests.value.length > 0 && (
        <select
          class="field request"
          aria-label="Request"
          value={filter.request === null ? "*" : `=${filter.request}`}
          onChange={(event) => {
            const value = event.currentTarget.value;
            view.filter.value = { ...filter, request: value === "*" ? null : value.slice(1) };
          }}
        >
          <option value="*">All requests</option>
          <option value="=">Outside of requests</option>
          {view.requests.value.map((name) => (
            <option key={name} value={`=${name}`}>
              {brief(name)}
            </option>
          ))}
        </select>
      )}
      {store.clock.value === "wall" && (
        <label class="labelled" title="Threads that wait for work">
          <input
            type="checkbox"
            checked={!filter.busyOnly}
            onChange={(event) => {
              view.filter.value = { ...filter, busyOnly: !event.currentTarget.checked };
            }}
          />
          idle too
        </label>
      )}
      {store.clock.value === "wall" && store.both.value && store.link.has("wait_profile") && (
        <label class="labelled" title="Parked greenlets of requests: of many at once each has its time">
          <input
            type="checkbox"
            checked={store.waitingToo.value}
            onChange={(event) => void store.lookAtWaits(event.currentTarget.checked)}
          />
          waiting requests too
        </label>
      )}
      {threads.length > 1 && (
        <select
          class="field"
          aria-label="Thread"
          value={filter.thread ?? "*"}
          onChange={(event) => {
            const value = event.currentTarget.value;
            view.filter.value = { ...filter, thread: value === "*" ? null : Number(value) };
          }}
        >
          <option value="*">All threads</option>
          {threads.map((identity) => (
            <option key={identity} value={identity}>
              {brief(store.threads.value.get(identity) ?? `thread ${identity}`)}
            </option>
          ))}
        </select>
      )}
      <select
        class="field"
        aria-label="Group by"
        value={view.group.value}
        onChange={(event) => {
          const value = event.currentTarget.value;
          view.group.value = value === "request" || value === "thread" ? value : "none";
          view.focus.value = [];
        }}
      >
        <option value="none">Not grouped</option>
        <option value="request">By request</option>
        <option value="thread">By thread</option>
      </select>
    </div>
  );
}

function windowOf(value: string): ShownStretch {
  return value === "all" ? { kind: "all" } : { kind: "last", length: Number(value) };
}

function Comparing({ view }: { view: CpuSelection }) {
  const comparison = view.comparison.value;
  const pinned = view.pinned.value;
  const before = view.before.value;
  return (
    <div class="toolbar cpu-choices">
      <SearchField text={view.search} words="Search functions and files" class="search" />
      <label class="labelled comparison">
        Compare with
        <select
          class="field"
          value={comparison.kind}
          onChange={(event) => {
            const kind = event.currentTarget.value;
            view.comparison.value = { kind: kind === "previous" || kind === "pinned" ? kind : "none" };
          }}
        >
          <option value="none">nothing</option>
          <option value="previous">the stretch before</option>
          {pinned !== null && <option value="pinned">{pinned}</option>}
        </select>
      </label>
      {pinned === null ? (
        <button
          class="button"
          type="button"
          onClick={() => view.pin(`as of ${clock(Date.now())}, pid ${view.store.link.handshake.peek()?.pid ?? "?"}`)}
        >
          Pin
        </button>
      ) : (
        <button class="button" type="button" onClick={() => view.unpin()}>
          Unpin
        </button>
      )}
      {comparison.kind !== "none" && (!before || sum(before) === 0) && (
        <span class="soft">There is nothing to compare with yet.</span>
      )}
      {view.focus.value.length > 0 && view.display.value === "flame" && (
        <button
          class="button small"
          type="button"
          onClick={() => {
            view.focus.value = [];
          }}
        >
          Show all again
        </button>
      )}
      <button
        class="button"
        type="button"
        aria-pressed={view.held.value !== null}
        title="Keep the picture still while sampling goes on"
        onClick={() => view.hold(view.held.value === null)}
      >
        {view.held.value === null ? "Hold" : "Go on"}
      </button>
      <Save view={view} />
    </div>
  );
}

function Legend({ view, found }: { view: CpuSelection; found: number | null }) {
  const different = view.graph.value.totalBefore !== null;
  return (
    <ul class="legend soft">
      {different ? (
        <>
          <li>
            <i class="key more" aria-hidden="true" /> takes a greater share than before
          </li>
          <li>
            <i class="key less" aria-hidden="true" /> a smaller one
          </li>
          <li>as wide as both together</li>
        </>
      ) : (
        <>
          <li>
            <i class="key app" aria-hidden="true" /> application
          </li>
          <li>
            <i class="key library" aria-hidden="true" /> libraries
          </li>
          <li>
            <i class="key standard" aria-hidden="true" /> standard library
          </li>
          <li>
            <i class="key collector" aria-hidden="true" /> garbage collector
          </li>
          <li>
            <i class="key others" aria-hidden="true" /> too thin one by one, click to open
          </li>
        </>
      )}
      {found !== null && (
        <li role="status">
          <i class="key found" aria-hidden="true" /> {percent(found)} in or below what matches
        </li>
      )}
    </ul>
  );
}

/** The share of the time spent in or below a match; nested ones count once. */
function foundShare(view: CpuSelection, search: string): number {
  const graph = view.graph.value;
  let weight = 0;
  const open = [0];
  while (open.length) {
    const node = open.pop()!;
    if (node > 0 && matches(graph.frame(node), search)) weight += graph.total[node]!;
    else graph.unsorted(node, open);
  }
  return weight / (graph.total[0] || 1);
}
