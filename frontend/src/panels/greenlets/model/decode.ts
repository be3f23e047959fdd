/** Answers to `stacks` and `blocked`, checked once, and stacks grouped. */

import type {
  BlockedAnswer,
  BlockedBelow,
  BlockedLine,
  BlockNow,
  GreenletState,
  StacksAnswer,
  ThreadState,
} from "../../../protocol/answers.ts";
import { number, text, type Unchecked, uncheckedMap, uncheckedMaps } from "../../../protocol/codec.ts";
import { type EpochMs, fromSeconds, type Ms } from "../../../time.ts";

/** One level of a stack: `line` was executing. */
export interface StackLevel {
  readonly label: string;
  readonly file: string;
  readonly line: number;
}

export type TaskState = "running" | "waiting" | "new" | "unknown";

/** A thread or a greenlet. */
export interface Task {
  readonly kind: "thread" | "greenlet";
  readonly id: number;
  readonly name: string;
  readonly state: TaskState;
  readonly waitingOn: string;
  /** Since it was spawned, which is when its connection began; null where not known. */
  readonly age: Ms | null;
  readonly request: string;
  /** Since the request began; null where not known. */
  readonly requestAge: Ms | null;
  /** Innermost first. */
  readonly stack: readonly StackLevel[];
}

/** Tasks with one stack, state and request. */
export interface Group {
  readonly key: string;
  readonly kind: Task["kind"];
  readonly state: TaskState;
  readonly waitingOn: string;
  readonly request: string;
  readonly taskNames: readonly string[];
  readonly count: number;
  /** Ages of the oldest and the youngest, of the requests where there are any; null where none is known. */
  readonly oldest: Ms | null;
  readonly youngest: Ms | null;
  readonly stack: readonly StackLevel[];
}

const STATES: readonly string[] = ["running", "waiting", "new"];

function readStack(value: unknown): StackLevel[] {
  return (Array.isArray(value) ? value : []).flatMap((frame) => {
    if (!Array.isArray(frame)) return [];
    return [
      { label: text(frame[1]) ?? text(frame[0]) ?? "?", file: text(frame[2]) ?? "", line: number(frame[4]) ?? 0 },
    ];
  });
}

/** Threads and greenlets of an answer to `stacks`. */
export function readStacks(answer: Unchecked<StacksAnswer>): Task[] {
  const read = (kind: Task["kind"], list: unknown): Task[] =>
    uncheckedMaps<ThreadState & GreenletState>(list).map((task) => ({
      kind,
      id: number(task.id) ?? 0,
      name: text(task.name) ?? "",
      state: (STATES.includes(text(task.state) ?? "") ? text(task.state) : "unknown") as TaskState,
      waitingOn: text(task.waiting_on) ?? "",
      age: fromSeconds(number(task.age)),
      request: text(task.request) ?? "",
      requestAge: fromSeconds(number(task.request_age)),
      stack: readStack(task.stack),
    }));
  const greenlets = read("greenlet", answer.greenlets);
  const threads = read("thread", answer.threads);
  return [...greenlets, ...threads];
}

/** How many threads and greenlets there are beyond those in an answer to `stacks`. */
export interface LeftOut {
  readonly threads: number;
  readonly greenlets: number;
}

export const NONE_LEFT_OUT: LeftOut = { threads: 0, greenlets: 0 };

export function readLeftOut(answer: Unchecked<StacksAnswer>): LeftOut {
  return { threads: number(answer.threads_left_out) ?? 0, greenlets: number(answer.greenlets_left_out) ?? 0 };
}

/** How old a task is: the request that it serves, where it serves one. A connection's age says nothing of that. */
export function ageOf(task: Task): Ms | null {
  return task.request ? task.requestAge : task.age;
}

/** Groups tasks that stand at the same place for the same request; running ones first, then the oldest. */
export function group(tasks: readonly Task[], filter = ""): Group[] {
  const wanted = filter.toLowerCase();
  const groups = new Map<string, Task[]>();
  for (const task of tasks) {
    if (wanted && !mentions(task, wanted)) continue;
    const place = task.stack.map((frame) => `${frame.file}:${frame.line}:${frame.label}`).join("\n");
    const key = [task.kind, task.state, task.waitingOn, task.request, place].join("\0");
    const found = groups.get(key);
    if (found) found.push(task);
    else groups.set(key, [task]);
  }
  return [...groups].map(([key, members]) => joined(key, members)).sort(order);
}

function joined(key: string, members: readonly Task[]): Group {
  const first = members[0]!;
  const ages = members.map(ageOf).filter((age) => age !== null);
  return {
    key,
    kind: first.kind,
    state: first.state,
    waitingOn: first.waitingOn,
    request: first.request,
    taskNames: [...new Set(members.map((task) => task.name))].slice(0, 20),
    count: members.length,
    oldest: ages.length ? Math.max(...ages) : null,
    youngest: ages.length ? Math.min(...ages) : null,
    stack: first.stack,
  };
}

function mentions(task: Task, wanted: string): boolean {
  const has = (words: string) => words.toLowerCase().includes(wanted);
  return has(task.name) || has(task.request) || task.stack.some((frame) => has(frame.label) || has(frame.file));
}

// What serves a request matters most, then what runs, then what is old.
function order(a: Group, b: Group): number {
  const rank = (one: Group) => (one.request ? 2 : 0) + (one.state === "running" ? 1 : 0);
  return rank(b) - rank(a) || (b.oldest ?? -1) - (a.oldest ?? -1) || b.count - a.count;
}

/** What a blocking line called: blocks with one stack below it. */
export interface Inner {
  readonly count: number;
  readonly total: Ms;
  readonly longest: Ms;
  /** The frames below the line, innermost first; empty where the line itself blocked. */
  readonly stack: readonly StackLevel[];
}

/** Blocks of the event loop by one request at one line of the application. */
export interface Culprit {
  readonly request: string;
  readonly count: number;
  readonly total: Ms;
  readonly longest: Ms;
  readonly last: EpochMs | null;
  /** Of the longest of them. */
  readonly stack: readonly StackLevel[];
  /** The line, as the server found it; null where there is none of the application's. */
  readonly line: StackLevel | null;
  /** The longest first; empty from servers that list each stack for itself. */
  readonly inner: readonly Inner[];
}

export interface Blocked {
  /** From which on a block counts. */
  readonly limit: Ms;
  readonly since: EpochMs | null;
  readonly count: number;
  readonly total: Ms;
  readonly longest: Ms;
  /** The block that lasts still. */
  readonly now: { readonly lasts: Ms; readonly request: string; readonly stack: readonly StackLevel[] } | null;
  readonly culprits: readonly Culprit[];
}

export function readBlocked(answer: Unchecked<BlockedAnswer>): Blocked {
  const now = uncheckedMap<BlockNow>(answer.now);
  return {
    limit: span(answer.limit),
    since: number(answer.since),
    count: number(answer.count) ?? 0,
    total: span(answer.total),
    longest: span(answer.longest),
    now: now && { lasts: span(now.seconds), request: text(now.request) ?? "", stack: readStack(now.stack) },
    culprits: uncheckedMaps<BlockedLine>(answer.stacks).map((one) => {
      const stack = readStack(one.stack);
      return {
        ...readTimes(one),
        request: text(one.request) ?? "",
        last: number(one.last),
        stack,
        line: stack[number(one.line) ?? -1] ?? ownFrame(stack),
        inner: uncheckedMaps<BlockedBelow>(one.inner).map((below) => ({
          ...readTimes(below),
          stack: readStack(below.stack),
        })),
      };
    }),
  };
}

/** A span that the server tells in seconds. */
const span = (seconds: unknown): Ms => fromSeconds(number(seconds) ?? 0);

function readTimes(one: Unchecked<BlockedBelow>): { count: number; total: Ms; longest: Ms } {
  return { count: number(one.count) ?? 0, total: span(one.total), longest: span(one.longest) };
}

/** The innermost frame that is the application's own: neither a library's nor the interpreter's. */
export function ownFrame(stack: readonly StackLevel[]): StackLevel | null {
  const foreign = /site-packages|dist-packages|[/\\]lib[/\\]python\d|^<|rbkit_websocket[/\\]/;
  return stack.find((frame) => frame.file && !foreign.test(frame.file)) ?? stack[0] ?? null;
}
