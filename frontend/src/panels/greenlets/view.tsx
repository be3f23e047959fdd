import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { clean, count, counted, duration } from "../../ui/format.ts";
import { SearchField } from "../../ui/search.tsx";
import { Segments } from "../../ui/segments.tsx";
import { BlockedLoop } from "./blocked.tsx";
import { type Group, group, ownFrame, type Task } from "./model/decode.ts";
import { About, StackList } from "./stack.tsx";
import type { TaskStore } from "./store.ts";

type TasksShown = "requests" | "greenlets" | "threads";

const SHOWN: readonly (readonly [TasksShown, string])[] = [
  ["requests", "Requests"],
  ["greenlets", "All greenlets"],
  ["threads", "Threads"],
];

const FITS: { readonly [kind in TasksShown]: (task: Task) => boolean } = {
  requests: (task) => task.request !== "",
  greenlets: (task) => task.kind === "greenlet",
  threads: (task) => task.kind === "thread",
};

const MOST = 200;

export function GreenletsView({ store }: { store: TaskStore }) {
  useEffect(() => store.watch(), [store]);
  const knowsStacks = store.link.has("stacks");
  const knowsBlocked = store.link.has("blocked");
  const open = store.link.open;
  return (
    <div class="panel greenlets">
      <div class="title">
        <h1>Greenlets and requests</h1>
        <div class="toolbar">
          {knowsStacks && <WaitSamplingButton store={store} />}
          {(knowsStacks || knowsBlocked) && <Freeze store={store} />}
        </div>
      </div>
      {!open && <p class="notice">Not connected: what is shown, if anything, is from before.</p>}
      {open && !knowsStacks && !knowsBlocked && (
        <div class="box empty">
          <h2>This server does not tell</h2>
          <p>
            What runs and waits is told by the Python server of rbkit_websocket; this one speaks Rbkit's own protocol
            only. All other panels work as far as it answers.
          </p>
        </div>
      )}
      {knowsBlocked && <BlockedLoop store={store} />}
      {knowsStacks && <Tasks store={store} />}
    </div>
  );
}

function Freeze({ store }: { store: TaskStore }) {
  const frozen = store.frozen.value;
  return (
    <button
      class="button"
      type="button"
      aria-pressed={frozen}
      onClick={() => {
        store.frozen.value = !frozen;
      }}
    >
      {frozen ? "Go on" : "Hold still"}
    </button>
  );
}

function WaitSamplingButton({ store }: { store: TaskStore }) {
  if (!store.link.has("wait_profile")) return null;
  const on = store.waitSampling.wanted.value;
  return (
    <>
      <button
        class="button"
        type="button"
        aria-pressed={on}
        title="The CPU panel can show them then, on the wall clock"
        onClick={() => void store.setWaitSampling(!on)}
      >
        {on ? "Waits are sampled" : "Sample waits"}
      </button>
      {on && store.waitSampling.active.value === false && <span class="soft">begins with CPU sampling</span>}
    </>
  );
}

function Tasks({ store }: { store: TaskStore }) {
  const shown = useSignal<TasksShown | null>(null);
  const filter = useSignal("");
  const tasks = store.tasks.value;
  const leftOut = store.leftOut.value;
  const numbers = Object.fromEntries(SHOWN.map(([kind]) => [kind, tasks?.filter(FITS[kind]).length ?? 0]));
  // How many there are; of requests no more than what is listed is known.
  const all: Record<TasksShown, string> = {
    requests: `${leftOut.greenlets + leftOut.threads ? "≥ " : ""}${count(numbers.requests ?? 0)}`,
    greenlets: count((numbers.greenlets ?? 0) + leftOut.greenlets),
    threads: count((numbers.threads ?? 0) + leftOut.threads),
  };
  // Requests are what one comes for; without any, all that lives. Then it stays, or the list would jump.
  useEffect(() => {
    if (tasks && !shown.value)
      shown.value = numbers.requests ? "requests" : numbers.greenlets ? "greenlets" : "threads";
  }, [tasks]);
  const kind: TasksShown = shown.value ?? "requests";
  const listed = tasks?.filter(FITS[kind]) ?? [];
  const doubled = kind === "requests" && listed.some((task) => task.kind === "greenlet");
  const groups = group(doubled ? listed.filter((task) => task.kind === "greenlet") : listed, filter.value);
  return (
    <section class="box" aria-label="What runs and waits now">
      <header>
        <Segments
          label="What is listed"
          value={kind}
          choices={SHOWN.map(([one, words]) => [one, `${words} ${all[one]}`] as const)}
          onChoose={(one) => {
            shown.value = one;
          }}
        />
        <SearchField text={filter} words="Filter by request, function or file" />
      </header>
      {store.problem.value && <p class="notice bad inset">{clean(store.problem.value)}</p>}
      {store.unseen.value && <p class="inside soft">{clean(store.unseen.value)}</p>}
      {leftOut.greenlets > 0 && <LeftOutWords of={leftOut.greenlets} what="greenlets" />}
      {leftOut.threads > 0 && <LeftOutWords of={leftOut.threads} what="threads" />}
      {!tasks && !store.problem.value && <p class="empty">Asking…</p>}
      {tasks && !groups.length && (
        <p class="empty">
          {filter.value ? "Nothing that fits." : kind === "requests" ? "No request runs now." : "None."}
        </p>
      )}
      <ul class="groups">
        {groups.slice(0, MOST).map((one) => (
          <GroupEntry key={one.key} group={one} />
        ))}
      </ul>
      {groups.length > MOST && (
        <p class="inside soft">{counted(groups.length - MOST, "more group")}; filter to see all.</p>
      )}
    </section>
  );
}

function LeftOutWords({ of, what }: { of: number; what: string }) {
  return (
    <p class="inside soft">
      {count(of)} {what} are not listed: the server looks at those that run and at a part of the others, evenly chosen.
      What is counted below is of those it has looked at.
    </p>
  );
}

const WAITING_WORDS: { readonly [on: string]: string } = {
  socket: "waits for a socket",
  sleep: "sleeps",
  zeromq: "waits for ZeroMQ",
  threadpool: "waits for the thread pool",
  hub: "is the event loop, waiting",
  lock: "waits for another greenlet or thread",
};

function doing(one: Group): string {
  if (one.state === "running") return "runs";
  if (one.state === "new") return "has not begun";
  return WAITING_WORDS[one.waitingOn] ?? (one.state === "waiting" ? "waits" : "state unknown");
}

function ageWords({ oldest, youngest, request, count: number }: Group): string {
  if (oldest === null || youngest === null) return request ? "begun before anybody watched" : "";
  if (number === 1 || duration(oldest) === duration(youngest)) return `${duration(oldest)} old`;
  return `${duration(youngest)} to ${duration(oldest)} old`;
}

function GroupEntry({ group: one }: { group: Group }) {
  const place = ownFrame(one.stack);
  return (
    <li>
      <details>
        <summary>
          <span class="times">{count(one.count)}×</span>
          <About name={one.request || one.taskNames[0] || one.kind} place={place} />
          <span class={`pill ${one.state === "running" ? "good" : ""}`}>{doing(one)}</span>
          <span class="soft age">{ageWords(one)}</span>
        </summary>
        <StackList frames={one.stack} />
        {one.taskNames.length > 0 && <p class="soft names">{clean(one.taskNames.join(", "))}</p>}
      </details>
    </li>
  );
}
