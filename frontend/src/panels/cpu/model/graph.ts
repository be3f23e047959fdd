import type { EpochMs, Span } from "../../../time.ts";
import {
  addTo,
  type Bucket,
  type Clock,
  type History,
  nodeOf,
  requestOf,
  type Sums,
  threadOf,
  waitingOf,
} from "./history.ts";
import { holds, isOthers, type Path } from "./path.ts";
import { compareFrames, type Frame, type FrameTable, StackTree } from "./tree.ts";

/** Which stretch of time: everything since the start, or a span. */
export type Stretch = Span | "all";

export interface Filter {
  /** null: any. */
  readonly thread: number | null;
  /** null: any; "": outside of requests. */
  readonly request: string | null;
  /** Which time is looked at. */
  readonly clock: Clock;
  /** On the wall clock, whether threads that only wait are left out. */
  readonly busyOnly: boolean;
  /** On the wall clock, whether parked greenlets of requests are looked at as well. */
  readonly waitingToo: boolean;
}

export type Grouping = "none" | "request" | "thread";

export interface Shape {
  readonly inverse: boolean;
  readonly group: Grouping;
  readonly threadNames: ReadonlyMap<number, string>;
  /** What is looked at closely. */
  readonly focus: Path;
}

/** Weights in milliseconds by entry, of a span and filter; what graphs and differences are made of. */
export type Weights = Map<number, number>;

export function weigh(history: History, span: Stretch, filter: Filter): Weights {
  return filtered(history, gather(history, span), filter);
}

/** What was sampled in a span, by both clocks. */
export function gather(history: History, span: Stretch): Sums {
  const sums: Sums = new Map();
  if (span !== "all") for (const bucket of history.between(span.from, span.to)) addTo(sums, bucket);
  else for (const [entry, weight] of history.totals) sums.set(entry, { ...weight });
  return sums;
}

/** Of all that was sampled what a filter lets pass, by its clock. */
export function filtered(history: History, sums: Sums, filter: Filter): Weights {
  const weights: Weights = new Map();
  const wanted = filter.request === "" ? null : filter.request;
  const wall = filter.clock === "wall";
  for (const [entry, { wallMs, cpuMs }] of sums) {
    const weight = wall ? wallMs : cpuMs;
    const fits =
      weight > 0 &&
      (filter.thread === null || history.threads[threadOf(entry)] === filter.thread) &&
      (filter.request === null || history.requests[requestOf(entry)] === wanted) &&
      !(wall && filter.busyOnly && history.idle(entry)) &&
      !(wall && !filter.waitingToo && waitingOf(entry));
    if (fits) weights.set(entry, weight);
  }
  return weights;
}

/** Per node, in milliseconds: what was spent in it alone, and in it and below; of two spans in a difference. */
interface NodeFigures {
  readonly self: Float64Array;
  readonly total: Float64Array;
  /** Of the other span; scaled to the same sum. */
  readonly selfBefore: Float64Array | null;
  readonly totalBefore: Float64Array | null;
}

/** A flame graph: a tree of frames with what was spent in them. Its nodes are 0, the root, to `size - 1`. */
export class Graph {
  readonly size: number;
  readonly self: Float64Array;
  readonly total: Float64Array;
  readonly selfBefore: Float64Array | null;
  readonly totalBefore: Float64Array | null;
  // Children as linked lists: made in one pass, where lists of their own would take longer than all the rest.
  readonly #first: Int32Array;
  readonly #next: Int32Array;
  readonly #sorted = new Map<number, Int32Array>();

  constructor(
    readonly table: FrameTable,
    readonly tree: StackTree,
    figures: NodeFigures,
  ) {
    this.size = figures.total.length;
    this.self = figures.self;
    this.total = figures.total;
    this.selfBefore = figures.selfBefore;
    this.totalBefore = figures.totalBefore;
    this.#first = new Int32Array(this.size);
    this.#next = new Int32Array(this.size);
    for (let node = this.size - 1; node > 0; node--) {
      if (this.width(node) <= 0) continue;
      const parent = tree.parent[node]!;
      this.#next[node] = this.#first[parent]!;
      this.#first[parent] = node;
    }
  }

  frame(node: number): Frame {
    return node === 0 ? ROOT : this.table.frames[this.tree.frame[node]!]!;
  }

  /** What decides on a node's width. */
  width(node: number): number {
    return this.total[node]! + (this.totalBefore?.[node] ?? 0);
  }

  /** From -1 (gone) to 1 (new): how a node's share has changed, or that of several together. */
  change(...nodes: number[]): number {
    let sum = 0;
    let difference = 0;
    for (const node of nodes) {
      sum += this.width(node);
      difference += this.total[node]! - (this.totalBefore?.[node] ?? 0);
    }
    return sum ? difference / sum : 0;
  }

  /** Appends the children that took any time, in no order. */
  unsorted(node: number, to: number[]): number[] {
    for (let child = this.#first[node] ?? 0; child > 0; child = this.#next[child]!) to.push(child);
    return to;
  }

  /** The same by name: a live graph whose bars changed places with every sample could not be read. */
  children(node: number): Int32Array {
    let found = this.#sorted.get(node);
    if (!found) {
      found = Int32Array.from(this.unsorted(node, [])).sort(
        (a, b) => compareFrames(this.frame(a), this.frame(b)) || a - b,
      );
      this.#sorted.set(node, found);
    }
    return found;
  }
}

const ROOT: Frame = { label: "all", file: "", line: 0, kind: "standard" };

const UPRIGHT: Shape = { inverse: false, group: "none", threadNames: new Map(), focus: [] };

/** The flame graph of some weights. */
export function graphOf(history: History, weights: Weights, shape: Shape = UPRIGHT): Graph {
  return graphFrom(history, weights, null, shape);
}

/** What has changed between two weights: both are scaled to the sum of `after`, so that shares are compared. */
export function differenceOf(history: History, before: Weights, after: Weights, shape: Shape = UPRIGHT): Graph {
  const factor = sum(before) ? sum(after) / sum(before) : 0;
  const scaled = new Map([...before].map(([entry, weight]) => [entry, weight * factor]));
  return graphFrom(history, after, scaled, shape);
}

function graphFrom(history: History, weights: Weights, before: Weights | null, shape: Shape): Graph {
  if (shape.inverse || shape.group !== "none") return regrown(history, weights, before, shape);
  // Callers on top and nothing between: the history's own tree has these paths already.
  const { tree, table } = history;
  const spread = (from: Weights) => {
    const figures = new Float64Array(tree.size);
    for (const [entry, weight] of from) figures[nodeOf(entry)]! += weight;
    return figures;
  };
  const self = spread(weights);
  const selfBefore = before && spread(before);
  return new Graph(table, tree, {
    self,
    total: tree.accumulate(self.slice()),
    selfBefore,
    totalBefore: selfBefore && tree.accumulate(selfBefore.slice()),
  });
}

export function sum(weights: Weights): number {
  let all = 0;
  for (const weight of weights.values()) all += weight;
  return all;
}

/** A stack on its way into a tree: its frames in the order of the rows. */
interface Member {
  readonly path: readonly number[];
  readonly weight: number;
  readonly before: number;
}

// Of what takes the whole width. Narrower than a hair on any screen: what is below is not drawn, so it is not made.
const NARROWEST = 1 / 6000;

/** A graph with other paths than the history's: turned over, or with groups on top. */
function regrown(history: History, weights: Weights, before: Weights | null, shape: Shape): Graph {
  const members: Member[] = [];
  let all = 0;
  for (const entry of new Set([...weights.keys(), ...(before?.keys() ?? [])])) {
    const path = history.tree.path(nodeOf(entry));
    if (shape.inverse) path.reverse();
    const group = groupOf(history, entry, shape);
    if (group >= 0) path.unshift(group);
    const member = { path, weight: weights.get(entry) ?? 0, before: before?.get(entry) ?? 0 };
    members.push(member);
    all += member.weight + member.before;
  }
  const tree = new StackTree();
  const figures = { self: [0], total: [0], selfBefore: [0], totalBefore: [0] };
  // Nodes to go on from. `least`: below this weight nothing is drawn; `step`: how far on the way to the focus, -1 beside it.
  const open: { node: number; depth: number; inside: Member[]; least: number; step: number }[] = [];
  open.push({ node: 0, depth: 0, inside: members, least: all * NARROWEST, step: 0 });
  for (let turn = open.pop(); turn; turn = open.pop()) {
    const { node, depth, inside, least, step } = turn;
    const groups = new Map<number, Member[]>();
    for (const member of inside) {
      figures.total[node]! += member.weight;
      figures.totalBefore[node]! += member.before;
      const frame = member.path[depth];
      if (frame === undefined) {
        figures.self[node]! += member.weight;
        figures.selfBefore[node]! += member.before;
        continue;
      }
      const group = groups.get(frame);
      if (group) group.push(member);
      else groups.set(frame, [member]);
    }
    const weight = figures.total[node]! + figures.totalBefore[node]!;
    if (step < 0 && weight < least) continue;
    // The focused one gets the whole width, so that much less is seen below it.
    const finer = step === shape.focus.length ? weight * NARROWEST : least;
    const on = step >= 0 ? shape.focus[step] : undefined;
    const others = on && isOthers(on) ? shape.focus.at(-1) : undefined;
    const chosen = (frame: number, group: Member[]) =>
      others && isOthers(others) && holds(others, history.table.frames[frame]!, weightOf(group), all);
    let opened = 0;
    for (const [frame, group] of groups) if (chosen(frame, group)) opened += weightOf(group);
    for (const [frame, group] of groups) {
      const reached = on && !isOthers(on) && compareFrames(history.table.frames[frame]!, on) === 0;
      open.push({
        node: tree.append(node, frame),
        depth: depth + 1,
        inside: group,
        least: chosen(frame, group) ? opened * NARROWEST : finer,
        step: reached ? step + 1 : -1,
      });
      for (const column of Object.values(figures)) column.push(0);
    }
  }
  return new Graph(history.table, tree, {
    self: Float64Array.from(figures.self),
    total: Float64Array.from(figures.total),
    selfBefore: before && Float64Array.from(figures.selfBefore),
    totalBefore: before && Float64Array.from(figures.totalBefore),
  });
}

function weightOf(members: readonly Member[]): number {
  return members.reduce((sum, { weight, before }) => sum + weight + before, 0);
}

function groupOf(history: History, entry: number, shape: Shape): number {
  if (shape.group === "request") {
    const name = history.requests[requestOf(entry)];
    return history.table.number(name ?? "(no request)", "", 0, "request");
  }
  if (shape.group === "thread") {
    const identity = history.threads[threadOf(entry)] ?? 0;
    return history.table.number(shape.threadNames.get(identity) ?? `thread ${identity}`, "", 0, "thread");
  }
  return -1;
}

/** One function in the table: time spent in it alone, and in it and what it called. */
export interface FunctionRow {
  readonly frame: Frame;
  readonly self: number;
  readonly total: number;
  readonly selfBefore: number;
  readonly totalBefore: number;
}

/** Functions with self and total; recursion counts once. For graphs with callers on top and no groups. */
export function rowsOf(graph: Graph): FunctionRow[] {
  const size = graph.table.frames.length;
  const sums = [0, 1, 2, 3].map(() => new Float64Array(size)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const open = new Int32Array(size);
  const walk = graph.unsorted(0, []);
  while (walk.length) {
    const node = walk.pop()!;
    if (node < 0) {
      open[graph.tree.frame[-node]!]!--;
      continue;
    }
    const frame = graph.tree.frame[node]!;
    sums[0][frame]! += graph.self[node]!;
    sums[2][frame]! += graph.selfBefore?.[node] ?? 0;
    if (open[frame]!++ === 0) {
      sums[1][frame]! += graph.total[node]!;
      sums[3][frame]! += graph.totalBefore?.[node] ?? 0;
    }
    walk.push(-node);
    graph.unsorted(node, walk);
  }
  const rows: FunctionRow[] = [];
  for (let frame = 0; frame < size; frame++) {
    if (sums[1][frame]! + sums[3][frame]! <= 0) continue;
    rows.push({
      frame: graph.table.frames[frame]!,
      self: sums[0][frame]!,
      total: sums[1][frame]!,
      selfBefore: sums[2][frame]!,
      totalBefore: sums[3][frame]!,
    });
  }
  return rows;
}

/** What was spent in each stretch by its length, so that 1 is one core or thread; `at`: its middle. */
export function busyOver(
  buckets: readonly Bucket[],
  { clock, busyOnly, waitingToo }: Pick<Filter, "clock" | "busyOnly" | "waitingToo">,
): { at: EpochMs[]; busy: number[] } {
  const at: EpochMs[] = [];
  const busy: number[] = [];
  for (const bucket of buckets) {
    const span = bucket.until - bucket.since;
    if (span <= 0) continue;
    const { cpuMs, wallMs, idleMs, waitingMs } = bucket;
    const spent = clock === "cpu" ? cpuMs : wallMs - (busyOnly ? idleMs : 0) + (waitingToo ? waitingMs : 0);
    at.push((bucket.since + bucket.until) / 2);
    busy.push(spent / span);
  }
  return { at, busy };
}
