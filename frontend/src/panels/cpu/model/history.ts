import type { EpochMs, Ms } from "../../../time.ts";
import { FrameTable, isIdle, LIGHT, LIGHT_IDLE, StackTree } from "./tree.ts";

export type Clock = "cpu" | "wall";

/** Time by both clocks; one of them is 0 where a server samples by the other only. */
export interface Weight {
  wallMs: Ms;
  cpuMs: Ms;
}

/** One stack of a delta; frames are numbers of the history's table, outermost first. */
export interface WeighedStack extends Readonly<Weight> {
  readonly frames: readonly number[];
  /** Whether it is a parked greenlet of a request, whose time is no thread's. */
  readonly waiting: boolean;
  readonly thread: number;
  readonly request: string | null;
}

/** What was sampled in a stretch of time. */
export interface Delta {
  readonly since: EpochMs;
  readonly until: EpochMs;
  readonly samples: number;
  readonly stacks: readonly WeighedStack[];
}

/** A stretch of time: weights by entry. An entry is a stack with its thread, its request and whether it waits, packed by `pack`. */
export interface Bucket {
  readonly since: EpochMs;
  readonly until: EpochMs;
  readonly samples: number;
  readonly cpuMs: Ms;
  /** Of threads. */
  readonly wallMs: Ms;
  /** Of which the innermost function only waited. */
  readonly idleMs: Ms;
  /** Of parked greenlets. */
  readonly waitingMs: Ms;
  readonly entries: Float64Array;
  readonly walls: Float32Array;
  readonly cpus: Float32Array;
}

export interface Limits {
  /** Stretches kept as they came. */
  readonly fine: number;
  /** Of these so many are merged into one when they get old. */
  readonly merged: number;
  /** Merged stretches kept. */
  readonly coarse: number;
  /** Stacks in a merged stretch; lighter ones are cut to their callers. */
  readonly entries: number;
  /** Stacks since the start. */
  readonly totals: number;
  /** Nodes of the tree of all stacks. */
  readonly nodes: number;
}

/** At a stretch a second: 5 minutes by the second and an hour by 10 seconds, in some 40 MB at the worst. */
export const LIMITS: Limits = { fine: 300, merged: 10, coarse: 360, entries: 2000, totals: 20_000, nodes: 200_000 };

const THREADS = 256;
const REQUESTS = 1024;
const OTHERS = "(other requests)";

/** Weights by entry. */
export type Sums = Map<number, Weight>;

/** Everything sampled, in bounded memory: recent stretches in full, older ones merged, light old stacks cut short. */
export class History {
  table = new FrameTable();
  tree = new StackTree();
  /** Thread identities and request names by their number in an entry; the request 0 is none. */
  readonly threads: number[] = [];
  readonly requests: (string | null)[] = [null];
  fine: Bucket[] = [];
  coarse: Bucket[] = [];
  totals: Sums = new Map();
  /** Weights that somebody keeps to compare with; they follow when entries get other numbers. */
  pinned: Sums | null = null;
  totalSamples = 0;
  /** When the first delta began. */
  since: EpochMs | null = null;

  constructor(readonly limits: Limits = LIMITS) {}

  add(delta: Delta): void {
    this.since ??= delta.since;
    const weights: Sums = new Map();
    for (const stack of delta.stacks) {
      let node = 0;
      for (const frame of stack.frames) node = this.tree.child(node, frame);
      const entry = pack(node, stack.waiting, this.#thread(stack.thread), this.#request(stack.request));
      addWeight(weights, entry, stack.wallMs, stack.cpuMs);
      addWeight(this.totals, entry, stack.wallMs, stack.cpuMs);
    }
    const bucket = this.#frozen(delta.since, delta.until, delta.samples, weights);
    this.fine.push(bucket);
    this.totalSamples += bucket.samples;
    if (this.fine.length > this.limits.fine) this.#age();
    if (this.totals.size > this.limits.totals) this.totals = this.#cut(this.totals, this.limits.totals / 2);
    if (this.tree.size > this.limits.nodes) this.#prune();
  }

  /** Takes over what was pinned in the history of another process: the same functions, by their names and places. */
  adopt(other: History): void {
    this.pinned = null;
    for (const [entry, weight] of other.pinned ?? []) {
      let node = 0;
      for (const number of other.tree.path(nodeOf(entry))) {
        const { label, file, line, kind } = other.table.frames[number]!;
        node = this.tree.child(node, this.table.number(label, file, line, kind));
      }
      const thread = this.#thread(other.threads[threadOf(entry)] ?? 0);
      const request = this.#request(other.requests[requestOf(entry)] ?? null);
      this.pinned ??= new Map();
      addWeight(this.pinned, pack(node, waitingOf(entry), thread, request), weight.wallMs, weight.cpuMs);
    }
  }

  /** The stretches that lie in a span of time by at least half of their length, oldest first. */
  between(from: EpochMs, to: EpochMs): Bucket[] {
    return [...this.coarse, ...this.fine].filter((bucket) => {
      const inside = Math.min(bucket.until, to) - Math.max(bucket.since, from);
      return inside * 2 >= bucket.until - bucket.since && inside >= 0;
    });
  }

  #thread(identity: number): number {
    const found = this.threads.indexOf(identity);
    if (found >= 0) return found;
    return this.threads.length < THREADS ? this.threads.push(identity) - 1 : THREADS - 1;
  }

  #request(name: string | null): number {
    const found = this.requests.indexOf(name);
    if (found >= 0) return found;
    if (this.requests.length < REQUESTS - 1) return this.requests.push(name) - 1;
    if (this.requests.length < REQUESTS) this.requests.push(OTHERS);
    return REQUESTS - 1;
  }

  #age(): void {
    const old = this.fine.splice(0, this.limits.merged);
    const weights: Sums = new Map();
    for (const bucket of old) addTo(weights, bucket);
    const samples = old.reduce((sum, bucket) => sum + bucket.samples, 0);
    this.coarse.push(this.#frozen(old[0]!.since, old.at(-1)!.until, samples, this.#cut(weights, this.limits.entries)));
    if (this.coarse.length > this.limits.coarse) this.coarse.shift();
  }

  /**
   * At most `most` entries: of the lightest the innermost frame becomes that of light stacks, and its caller's, and again,
   * until few enough are left. It is no time of the caller's own.
   */
  #cut(weights: Sums, most: number): Sums {
    let entries = weights;
    while (entries.size > most) {
      const sorted = [...entries].sort((a, b) => heaviness(b[1]) - heaviness(a[1]));
      const kept = new Map(sorted.slice(0, Math.floor(most / 2)));
      let changed = false;
      for (const [entry, weight] of sorted.slice(Math.floor(most / 2))) {
        const cut = movedTo(entry, this.#lightened(nodeOf(entry), this.idle(entry)));
        changed ||= cut !== entry;
        addWeight(kept, cut, weight.wallMs, weight.cpuMs);
      }
      // The roots of many threads and requests cannot be cut further.
      if (!changed) return kept;
      entries = kept;
    }
    return entries;
  }

  /** The node of light stacks beside a node, or beside its caller if it is such a one itself. */
  #lightened(node: number, idle: boolean): number {
    const { tree, table } = this;
    const light = [LIGHT, LIGHT_IDLE].map((label) => table.number(label, "", 0, "others"));
    const beside = light.includes(tree.frame[node]!) ? tree.parent[node]! : node;
    return tree.child(beside > 0 ? tree.parent[beside]! : 0, light[idle ? 1 : 0]!);
  }

  /** Keeps the heaviest third of the nodes that the limit allows, and of the frames only those that they name. */
  #prune(): void {
    const weights = new Float64Array(this.tree.size);
    for (const [entry, weight] of this.totals) weights[nodeOf(entry)]! += heaviness(weight);
    for (const bucket of [...this.coarse, ...this.fine]) {
      bucket.entries.forEach((entry, index) => {
        weights[nodeOf(entry)]! += bucket.walls[index]! + bucket.cpus[index]!;
      });
    }
    this.tree.accumulate(weights);
    // A parent weighs at least what its children do and has the lower number, so this keeps whole paths.
    // A third, since each may get one for its light callees.
    const most = Math.floor(this.limits.nodes / 3);
    const least = weights.slice().sort().at(-most) ?? 0;
    const kept = new Uint8Array(this.tree.size);
    let spare = most - weights.reduce((heavier, weight) => heavier + (weight > least ? 1 : 0), 0);
    weights.forEach((weight, node) => {
      if (weight > least || (weight === least && spare-- > 0)) kept[node] = 1;
    });
    const table = new FrameTable();
    const tree = new StackTree();
    const light = (caller: number, idle: boolean) =>
      tree.child(caller, table.number(idle ? LIGHT_IDLE : LIGHT, "", 0, "others"));
    const moved = new Int32Array(this.tree.size);
    for (let node = 1; node < this.tree.size; node++) {
      // Of what is not kept, the nearest caller that is.
      const caller = moved[this.tree.parent[node]!]!;
      const frame = this.table.frames[this.tree.frame[node]!]!;
      moved[node] = kept[node]
        ? tree.child(caller, table.number(frame.label, frame.file, frame.line, frame.kind))
        : caller;
    }
    const move = (entry: number) => {
      const node = nodeOf(entry);
      return movedTo(entry, kept[node] || node === 0 ? moved[node]! : light(moved[node]!, this.idle(entry)));
    };
    this.totals = regrouped(this.totals, move);
    this.pinned = this.pinned && regrouped(this.pinned, move);
    this.fine = this.fine.map((bucket) => remapped(bucket, move));
    this.coarse = this.coarse.map((bucket) => remapped(bucket, move));
    this.tree = tree;
    this.table = table;
  }

  /** Whether an entry is a thread's whose innermost function only waits. */
  idle(entry: number): boolean {
    const node = nodeOf(entry);
    return node > 0 && !waitingOf(entry) && isIdle(this.table.frames[this.tree.frame[node]!]!);
  }

  #frozen(since: EpochMs, until: EpochMs, samples: number, weights: Sums): Bucket {
    const sums = { cpuMs: 0, wallMs: 0, idleMs: 0, waitingMs: 0 };
    for (const [entry, { wallMs, cpuMs }] of weights) {
      sums.cpuMs += cpuMs;
      if (waitingOf(entry)) sums.waitingMs += wallMs;
      else sums.wallMs += wallMs;
      if (this.idle(entry)) sums.idleMs += wallMs;
    }
    return { since, until, samples, ...sums, ...packed(weights) };
  }
}

function pack(node: number, waiting: boolean, thread: number, request: number): number {
  return ((node * 2 + (waiting ? 1 : 0)) * THREADS + thread) * REQUESTS + request;
}

export function nodeOf(entry: number): number {
  return Math.floor(entry / (2 * THREADS * REQUESTS));
}

/** Whether it is a parked greenlet. */
export function waitingOf(entry: number): boolean {
  return Math.floor(entry / (THREADS * REQUESTS)) % 2 === 1;
}

export function threadOf(entry: number): number {
  return Math.floor(entry / REQUESTS) % THREADS;
}

export function requestOf(entry: number): number {
  return entry % REQUESTS;
}

/** The same at another node. */
function movedTo(entry: number, node: number): number {
  return entry - (nodeOf(entry) - node) * (2 * THREADS * REQUESTS);
}

function heaviness({ wallMs, cpuMs }: Weight): number {
  return wallMs + cpuMs;
}

function addWeight(sums: Sums, entry: number, wallMs: Ms, cpuMs: Ms): void {
  const found = sums.get(entry);
  if (found) {
    found.wallMs += wallMs;
    found.cpuMs += cpuMs;
  } else sums.set(entry, { wallMs, cpuMs });
}

export function addTo(sums: Sums, bucket: Bucket): void {
  bucket.entries.forEach((entry, index) => {
    addWeight(sums, entry, bucket.walls[index]!, bucket.cpus[index]!);
  });
}

function packed(sums: Sums): { entries: Float64Array; walls: Float32Array; cpus: Float32Array } {
  const weights = [...sums.values()];
  return {
    entries: Float64Array.from(sums.keys()),
    walls: Float32Array.from(weights, (weight) => weight.wallMs),
    cpus: Float32Array.from(weights, (weight) => weight.cpuMs),
  };
}

function regrouped(sums: Sums, move: (entry: number) => number): Sums {
  const moved: Sums = new Map();
  for (const [entry, { wallMs, cpuMs }] of sums) addWeight(moved, move(entry), wallMs, cpuMs);
  return moved;
}

function remapped(bucket: Bucket, move: (entry: number) => number): Bucket {
  const sums: Sums = new Map();
  addTo(sums, bucket);
  return { ...bucket, ...packed(regrouped(sums, move)) };
}
