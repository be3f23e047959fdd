import type { Graph } from "./graph.ts";
import { holds, isOthers, type Others, type Path } from "./path.ts";
import { compareFrames, type Frame } from "./tree.ts";

/** A bar of the flame graph; lengths are pixels, rows count from the top. */
export interface Bar {
  /** What is drawn, or whose thin callees. */
  readonly node: number;
  readonly x: number;
  readonly width: number;
  readonly row: number;
  /** The last of these is what the bar stands for; empty for a node itself. */
  readonly others: readonly Others[];
  /** The nodes that it stands for. */
  readonly members: readonly number[];
}

/** Narrower ones cannot be hit, nor told apart from their neighbours. */
const THIN = 2;
/** Where all of a group are thin still, it is divided by name into so many. */
const PARTS = 16;

/** Where a path leads in a graph; as far as it is there. */
export interface GraphPlace {
  readonly node: number;
  readonly others: readonly Others[];
  /** Whether all of the path is there. */
  readonly whole: boolean;
}

export function find(graph: Graph, path: Path): GraphPlace {
  let node = 0;
  for (const [at, step] of path.entries()) {
    if (isOthers(step)) {
      const others = path.slice(at).filter(isOthers);
      const whole = membersOf(graph, node, others.at(-1)!).length > 0;
      return { node, others: whole ? others : [], whole };
    }
    const next = graph.children(node).find((child) => compareFrames(graph.frame(child), step) === 0);
    if (next === undefined) return { node, others: [], whole: false };
    node = next;
  }
  return { node, others: [], whole: true };
}

export function pathOf(graph: Graph, bar: Pick<Bar, "node" | "others">): Path {
  return [...graph.tree.path(bar.node).map((frame) => graph.table.frames[frame]!), ...bar.others];
}

function membersOf(graph: Graph, node: number, others: Others): number[] {
  const all = graph.width(0);
  return Array.from(graph.children(node)).filter((child) => holds(others, graph.frame(child), graph.width(child), all));
}

/**
 * The bars: callers above, callees below, none of them thinner than can be seen. Thin callees of one caller are one bar
 * together, at the right of the others, so that what is left free below a bar is its own time. The focused one and those
 * above it take the whole width.
 */
export function layOut(graph: Graph, focus: Pick<GraphPlace, "node" | "others">, width: number, thin = THIN): Bar[] {
  const bars: Bar[] = [];
  const above: number[] = [];
  for (let at = focus.node; at > 0; at = graph.tree.parent[at]!) above.push(at);
  above.push(0);
  const all = { x: 0, width };
  for (const node of above.reverse()) bars.push({ ...all, node, row: bars.length, others: [], members: [] });
  focus.others.forEach((step, at) => {
    const members = membersOf(graph, focus.node, step);
    bars.push({ ...all, node: focus.node, row: bars.length, others: focus.others.slice(0, at + 1), members });
  });
  const last = bars.at(-1)!;
  const inside = last.others.length ? last.members : Array.from(graph.children(last.node));
  const weight = last.others.length ? inside.reduce((sum, node) => sum + graph.width(node), 0) : graph.width(last.node);
  if (weight <= 0) return bars;
  const scale = width / weight;
  const open: [Bar, readonly number[]][] = [[last, inside]];
  for (let turn = open.pop(); turn; turn = open.pop()) {
    const [bar, callees] = turn;
    for (const below of rowBelow(graph, bar, callees, scale, thin)) {
      bars.push(below);
      if (!below.others.length) open.push([below, Array.from(graph.children(below.node))]);
    }
  }
  return bars;
}

function rowBelow(graph: Graph, bar: Bar, callees: readonly number[], scale: number, thin: number): Bar[] {
  const row = bar.row + 1;
  let { x } = bar;
  const placed: Bar[] = [];
  const place = (weight: number, node: number, others: readonly Others[], members: readonly number[]) => {
    const width = weight * scale;
    placed.push({ node, x, width, row, others, members });
    x += width;
  };
  const below = thin / scale / graph.width(0);
  const gathered: number[] = [];
  let lighter = 0;
  for (const node of callees) {
    const weight = graph.width(node);
    if (weight / graph.width(0) >= below) place(weight, node, [], []);
    else {
      gathered.push(node);
      lighter += weight;
    }
  }
  const group = bar.others.at(-1);
  // One alone is no group, if it can be seen at all.
  if (gathered.length === 1 && lighter * scale >= thin / 4) place(lighter, gathered[0]!, [], []);
  else if (gathered.length && gathered.length === callees.length && group) {
    // Each of a great many is as thin as before.
    const size = Math.ceil(gathered.length / PARTS);
    for (let at = 0; at < gathered.length; at += size) {
      const members = gathered.slice(at, at + size);
      const weight = members.reduce((sum, node) => sum + graph.width(node), 0);
      const [from, to] = [graph.frame(members[0]!), graph.frame(members.at(-1)!)];
      place(weight, bar.node, [...bar.others, { below: group.below, from, to }], members);
    }
  } else if (gathered.length) {
    const { from, to } = group ?? { from: null, to: null };
    place(lighter, bar.node, [...bar.others, { below, from, to }], gathered);
  }
  return placed;
}

/** Below the last row, as a number of rows. */
export function rowsIn(bars: readonly Bar[]): number {
  return bars.reduce((most, bar) => Math.max(most, bar.row), 0) + 1;
}

/** The bar under a point, if any. */
export function barAt(bars: readonly Bar[], x: number, row: number): Bar | null {
  return bars.find((bar) => bar.row === row && x >= bar.x && x < bar.x + bar.width) ?? null;
}

/** The bar of a place, if it is drawn; that of a group also when its limit has moved with the samples. */
export function barOf(bars: readonly Bar[], { node, others }: Pick<GraphPlace, "node" | "others">): Bar | null {
  return (
    bars.find((bar) => {
      if (bar.node !== node || bar.others.length !== others.length) return false;
      const [one, other] = [bar.others.at(-1), others.at(-1)];
      return !one || !other || (same(one.from, other.from) && same(one.to, other.to));
    }) ?? null
  );
}

function same(one: Frame | null, other: Frame | null): boolean {
  return one === null || other === null ? one === other : compareFrames(one, other) === 0;
}

export type Direction = "up" | "down" | "left" | "right";

/** The bar that a key leads to from `here`; the same where there is none, the first without one. */
export function neighbour(bars: readonly Bar[], here: Bar | null, direction: Direction): Bar | null {
  if (!here) return bars[0] ?? null;
  const middle = here.x + here.width / 2;
  if (direction === "up" || direction === "down") {
    const row = bars.filter((bar) => bar.row === here.row + (direction === "up" ? -1 : 1));
    if (direction === "up") return row.find((bar) => middle >= bar.x && middle <= bar.x + bar.width) ?? here;
    const below = row.filter((bar) => bar.x >= here.x - 0.01 && bar.x + bar.width <= here.x + here.width + 0.01);
    return below.reduce<Bar | null>((best, bar) => (best && best.width >= bar.width ? best : bar), null) ?? here;
  }
  const row = bars.filter((bar) => bar.row === here.row).sort((a, b) => a.x - b.x);
  return row[row.indexOf(here) + (direction === "left" ? -1 : 1)] ?? here;
}
