import { addTo, type Bucket, type History, nodeOf, requestOf, threadOf } from "./history.ts";
import { type Frame, type FrameTable, StackTree } from "./tree.ts";

/** Which stretch of time: everything since the start, or a span of wall-clock milliseconds. */
export type Span = { readonly from: number; readonly to: number } | "all";

export interface Filter {
  /** null: any. */
  readonly thread: number | null;
  /** null: any; "": outside of requests. */
  readonly request: string | null;
  /** Whether stacks that only wait are left out. */
  readonly busyOnly: boolean;
}

export type Grouping = "none" | "request" | "thread";

export interface Shape {
  readonly inverse: boolean;
  readonly group: Grouping;
  readonly threadNames: ReadonlyMap<number, string>;
}

/** Weights by entry of a span and filter; what graphs and differences are made of. */
export type Weights = Map<number, number>;

export function weigh(history: History, span: Span, filter: Filter): Weights {
  let weights: Weights = new Map();
  if (span === "all") weights = new Map(history.totals);
  else for (const bucket of history.between(span.from, span.to)) addTo(weights, bucket);
  if (filter.thread === null && filter.request === null && !filter.busyOnly) return weights;
  const wanted = filter.request === "" ? null : filter.request;
  for (const entry of [...weights.keys()]) {
    const fits =
      (filter.thread === null || history.threads[threadOf(entry)] === filter.thread) &&
      (filter.request === null || history.requests[requestOf(entry)] === wanted) &&
      !(filter.busyOnly && history.idle(entry));
    if (!fits) weights.delete(entry);
  }
  return weights;
}

/** A flame graph: a tree with what was spent in each node (self) and in it and below (total), in microseconds. */
export class Graph {
  readonly tree = new StackTree();
  self: Float64Array = new Float64Array(1024);
  /** Of the other span, in a difference; scaled to the same sum. */
  before: Float64Array | null = null;
  total: Float64Array = new Float64Array(0);
  totalBefore: Float64Array | null = null;
  children: Int32Array[] = [];

  constructor(readonly table: FrameTable) {}

  frame(node: number): Frame {
    return node === 0
      ? { label: "all", file: "", line: 0, kind: "standard" }
      : this.table.frames[this.tree.frame[node]!]!;
  }

  /** What decides on a node's width. */
  width(node: number): number {
    return this.total[node]! + (this.totalBefore?.[node] ?? 0);
  }

  /** From -1 (gone) to 1 (new): how a node's share has changed. */
  change(node: number): number {
    const sum = this.width(node);
    return sum ? (this.total[node]! - (this.totalBefore?.[node] ?? 0)) / sum : 0;
  }

  finish(): this {
    const size = this.tree.size;
    this.total = this.tree.accumulate(this.self.slice(0, size));
    if (this.before) this.totalBefore = this.tree.accumulate(this.before.slice(0, size));
    const lists: number[][] = Array.from({ length: size }, () => []);
    for (let node = 1; node < size; node++) lists[this.tree.parent[node]!]!.push(node);
    // By name: a live graph whose bars changed places with every sample could not be read.
    const names = this.table.frames;
    this.children = lists.map((list) =>
      Int32Array.from(
        list.sort((a, b) => {
          const one = names[this.tree.frame[a]!]!;
          const other = names[this.tree.frame[b]!]!;
          return one.label < other.label ? -1 : one.label > other.label ? 1 : a - b;
        }),
      ),
    );
    return this;
  }

  room(): void {
    if (this.tree.size <= this.self.length) return;
    const larger = (array: Float64Array) => {
      const copy = new Float64Array(this.tree.size * 2);
      copy.set(array);
      return copy;
    };
    this.self = larger(this.self);
    if (this.before) this.before = larger(this.before);
  }
}

/** The flame graph of some weights. */
export function graphOf(history: History, weights: Weights, shape: Shape): Graph {
  const graph = new Graph(history.table);
  insert(graph, history, weights, shape, 1, "self");
  return graph.finish();
}

/** What has changed between two weights: both are scaled to the sum of `after`, so that shares are compared. */
export function differenceOf(history: History, before: Weights, after: Weights, shape: Shape): Graph {
  const graph = new Graph(history.table);
  graph.before = new Float64Array(1024);
  const factor = sum(before) ? sum(after) / sum(before) : 0;
  insert(graph, history, after, shape, 1, "self");
  insert(graph, history, before, shape, factor, "before");
  return graph.finish();
}

export function sum(weights: Weights): number {
  let all = 0;
  for (const weight of weights.values()) all += weight;
  return all;
}

function insert(
  graph: Graph,
  history: History,
  weights: Weights,
  shape: Shape,
  factor: number,
  into: "self" | "before",
): void {
  const { tree } = history;
  // Nodes of the graph by group, then by node of the history: paths that begin alike are walked once.
  const known = new Map<number, Map<number, number>>();
  for (const [entry, weight] of weights) {
    const group = groupOf(graph, history, entry, shape);
    const top = group < 0 ? 0 : graph.tree.child(0, group);
    let node: number;
    if (shape.inverse) {
      node = top;
      for (let at = nodeOf(entry); at > 0; at = tree.parent[at]!) node = graph.tree.child(node, tree.frame[at]!);
    } else {
      const nodes = known.get(group) ?? new Map([[0, top]]);
      known.set(group, nodes);
      node = forward(graph, history, nodes, nodeOf(entry));
    }
    graph.room();
    (into === "self" ? graph.self : graph.before!)[node]! += weight * factor;
  }
}

function forward(graph: Graph, history: History, nodes: Map<number, number>, node: number): number {
  const pending: number[] = [];
  let at = node;
  let found = nodes.get(at);
  while (found === undefined) {
    pending.push(at);
    at = history.tree.parent[at]!;
    found = nodes.get(at);
  }
  for (const next of pending.reverse()) {
    found = graph.tree.child(found, history.tree.frame[next]!);
    nodes.set(next, found);
  }
  return found;
}

function groupOf(graph: Graph, history: History, entry: number, shape: Shape): number {
  if (shape.group === "request") {
    const name = history.requests[requestOf(entry)];
    return graph.table.number(name ?? "(no request)", "", 0, "request");
  }
  if (shape.group === "thread") {
    const identity = history.threads[threadOf(entry)] ?? 0;
    return graph.table.number(shape.threadNames.get(identity) ?? `thread ${identity}`, "", 0, "thread");
  }
  return -1;
}

/** One function in the table: seconds spent in it alone, and in it and what it called. */
export interface Row {
  readonly frame: Frame;
  readonly self: number;
  readonly total: number;
  readonly selfBefore: number;
  readonly totalBefore: number;
}

/** Functions with self and total; recursion counts once. For graphs that are not inverse. */
export function rowsOf(graph: Graph): Row[] {
  const size = graph.table.frames.length;
  const sums = [0, 1, 2, 3].map(() => new Float64Array(size)) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const open = new Int32Array(size);
  const walk: number[] = [...(graph.children[0] ?? [])];
  while (walk.length) {
    const node = walk.pop()!;
    if (node < 0) {
      open[graph.tree.frame[-node]!]!--;
      continue;
    }
    const frame = graph.tree.frame[node]!;
    sums[0][frame]! += graph.self[node]!;
    sums[2][frame]! += graph.before?.[node] ?? 0;
    if (open[frame]!++ === 0) {
      sums[1][frame]! += graph.total[node]!;
      sums[3][frame]! += graph.totalBefore?.[node] ?? 0;
    }
    walk.push(-node, ...graph.children[node]!);
  }
  const rows: Row[] = [];
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

/** The share of the time that one thread was busy, per stretch; `at` is its middle in seconds since the epoch. */
export function busyOver(buckets: readonly Bucket[]): { at: number[]; busy: number[] } {
  const at: number[] = [];
  const busy: number[] = [];
  for (const bucket of buckets) {
    const span = bucket.until - bucket.since;
    if (span <= 0) continue;
    at.push((bucket.since + bucket.until) / 2000);
    busy.push((bucket.weightUs - bucket.idleUs) / 1000 / span);
  }
  return { at, busy };
}
