import { describe, expect, it } from "vitest";
import { differenceOf, type Graph, type Grouping, graphOf, weigh } from "./graph.ts";
import { History } from "./history.ts";
import { type Bar, barAt, barOf, find, layOut, neighbour, pathOf } from "./layout.ts";
import type { Path } from "./path.ts";

const EVERYTHING = { thread: null, request: null, busyOnly: false, clock: "wall", waitingToo: false } as const;

/** `stacks`: "a;b;c" to a weight; one second each. */
function historyOf(...seconds: { [stack: string]: number }[]): History {
  const history = new History();
  seconds.forEach((stacks, second) => {
    history.add({
      since: second * 1000,
      until: second * 1000 + 1000,
      samples: 1,
      stacks: Object.entries(stacks).map(([stack, weightMs], at) => ({
        frames: stack.split(";").map((name) => history.table.number(name, "/app.py", 3)),
        wallMs: weightMs,
        cpuMs: weightMs,
        waiting: false,
        thread: 1,
        request: at % 3 ? `GET /${at % 3}` : null,
      })),
    });
  });
  return history;
}

const all = (history: History) => weigh(history, "all", EVERYTHING);
const name = (graph: Graph, bar: Bar) => (bar.others.length ? `+${bar.members.length}` : graph.frame(bar.node).label);
const placed = (graph: Graph, bars: readonly Bar[]) =>
  bars.map((bar) => [name(graph, bar), bar.row, Math.round(bar.x), Math.round(bar.width)]).sort();

describe("the layout", () => {
  const graph = graphOf(historyOf({ "main;a;b": 25, "main;c": 75 }), all(historyOf({ "main;a;b": 25, "main;c": 75 })));
  const whole = layOut(graph, find(graph, []), 400);

  it("gives callees their share of the caller's width", () => {
    expect(placed(graph, whole)).toEqual(
      [
        ["all", 0, 0, 400],
        ["main", 1, 0, 400],
        ["a", 2, 0, 100],
        ["b", 3, 0, 100],
        ["c", 2, 100, 300],
      ].sort(),
    );
  });

  it("gives the focused one everything, and keeps its callers", () => {
    const a = whole.find((bar) => name(graph, bar) === "a")!;
    expect(placed(graph, layOut(graph, find(graph, pathOf(graph, a)), 400))).toEqual(
      [
        ["all", 0, 0, 400],
        ["main", 1, 0, 400],
        ["a", 2, 0, 400],
        ["b", 3, 0, 400],
      ].sort(),
    );
  });

  it("finds bars by point and by key", () => {
    const at = (x: number, row: number) => barAt(whole, x, row);
    expect(name(graph, at(150, 2)!)).toBe("c");
    expect(at(150, 3)).toBeNull();
    const main = at(5, 1)!;
    expect(name(graph, neighbour(whole, main, "down")!)).toBe("c");
    expect(name(graph, neighbour(whole, main, "up")!)).toBe("all");
    const c = neighbour(whole, main, "down")!;
    expect(name(graph, neighbour(whole, c, "left")!)).toBe("a");
    expect(name(graph, neighbour(whole, c, "right")!)).toBe("c");
    expect(neighbour(whole, null, "down")).toBe(whole[0]);
  });
});

/** Uneven and wide: a few heavy callees beside very many light ones, at each of three depths. */
function crowd(seed: number, light: number): { [stack: string]: number } {
  const stacks: { [stack: string]: number } = { "main;hot": 900, "main;warm;inner": 300, main: 50 };
  for (let at = 0; at < light; at++) {
    stacks[`main;f${at}`] = 1 + ((at * seed) % 7) / 7;
    stacks[`main;warm;g${at};deep${at % 5}`] = 0.2 + ((at * seed) % 3);
  }
  return stacks;
}

function graphs(): [string, (focus?: Path) => Graph][] {
  const history = historyOf(crowd(3, 1500), crowd(5, 900));
  const weights = all(history);
  const shape = (inverse: boolean, group: Grouping, focus: Path) => ({ inverse, group, threadNames: new Map(), focus });
  const before = weigh(history, { from: 0, to: 1000 }, EVERYTHING);
  const after = weigh(history, { from: 1000, to: 2000 }, EVERYTHING);
  return [
    ["upright", (focus = []) => graphOf(history, weights, shape(false, "none", focus))],
    ["inverse", (focus = []) => graphOf(history, weights, shape(true, "none", focus))],
    ["by request", (focus = []) => graphOf(history, weights, shape(false, "request", focus))],
    ["compared", (focus = []) => differenceOf(history, before, after, shape(false, "none", focus))],
    ["inverse and compared", (focus = []) => differenceOf(history, before, after, shape(true, "none", focus))],
  ];
}

/** What is free below each bar is its own time, and nothing else. */
function addsUp(graph: Graph, bars: readonly Bar[], focused: Bar): void {
  const weight = (bar: Bar) =>
    (bar.others.length ? bar.members : [bar.node]).reduce((sum, node) => sum + graph.width(node), 0);
  const scale = focused.width / weight(focused);
  const own = (node: number) => graph.self[node]! + (graph.selfBefore?.[node] ?? 0);
  for (const bar of bars) {
    if (bar.row < focused.row || (bar.others.length && bar !== focused)) continue;
    const below = bars.filter(
      (one) => one.row === bar.row + 1 && one.x >= bar.x - 1e-6 && one.x + one.width <= bar.x + bar.width + 1e-6,
    );
    const free = bar.width - below.reduce((sum, one) => sum + one.width, 0);
    const expected = bar.others.length ? 0 : own(bar.node) * scale;
    // What a graph does not have below it is narrower than a hair.
    expect(Math.abs(free - expected)).toBeLessThan(0.5);
  }
}

describe("thin callees", () => {
  it.each(graphs())("are one bar together, and the widths add up: %s", (_, make) => {
    const graph = make();
    const bars = layOut(graph, find(graph, []), 980);
    const others = bars.filter((bar) => bar.others.length);
    expect(others.length).toBeGreaterThan(0);
    expect(others.every((bar) => bar.members.length > 1 || bar.width < 0.5)).toBe(true);
    expect(bars.every((bar) => bar.width >= 0.5 || bar.others.length)).toBe(true);
    addsUp(graph, bars, bars[0]!);
  });

  it.each(graphs())("are opened by clicks until each is to be seen: %s", (_, make) => {
    let path: Path = [];
    for (let clicks = 0; clicks < 12; clicks++) {
      const graph = make(path);
      const place = find(graph, path);
      expect(place.whole).toBe(true);
      const bars = layOut(graph, place, 980);
      const focused = barOf(bars, place)!;
      addsUp(graph, bars, focused);
      const next = bars
        .filter((bar) => bar.others.length && (clicks === 0 || bar.row === focused.row + 1))
        .sort((a, b) => b.members.length - a.members.length)[0];
      if (!next) {
        expect(clicks).toBeGreaterThan(0);
        return;
      }
      path = pathOf(graph, next);
    }
    throw new Error("clicks without end");
  });

  it("of the same weight, more than there are pixels, are divided by name", () => {
    const stacks = Object.fromEntries(
      Array.from({ length: 20_000 }, (_, at) => [`main;f${String(at).padStart(5, "0")}`, 1]),
    );
    const history = historyOf(stacks);
    const graph = graphOf(history, all(history));
    let path: Path = [];
    const seen: number[] = [];
    for (;;) {
      const place = find(graph, path);
      const bars = layOut(graph, place, 980);
      addsUp(graph, bars, barOf(bars, place)!);
      const target = bars.find((bar) => name(graph, bar) === "f12345");
      if (target) {
        expect(target.width).toBeGreaterThanOrEqual(2);
        break;
      }
      const holding = bars.filter((bar) => bar.members.some((node) => graph.frame(node).label === "f12345")).at(-1)!;
      seen.push(holding.members.length);
      path = pathOf(graph, holding);
    }
    expect(seen).toEqual([20_000, 1250, 79]);
  });

  it("stay open while samples come in", () => {
    const history = historyOf(crowd(3, 500));
    const first = graphOf(history, all(history));
    const group = layOut(first, find(first, []), 980).find((bar) => bar.others.length && bar.row === 2)!;
    const path = pathOf(first, group);
    history.add({
      since: 1000,
      until: 2000,
      samples: 1,
      stacks: [
        {
          frames: ["main", "new"].map((label) => history.table.number(label, "/app.py", 3)),
          wallMs: 1,
          cpuMs: 1,
          waiting: false,
          thread: 1,
          request: null,
        },
      ],
    });
    const next = graphOf(history, all(history));
    const place = find(next, path);
    expect(place.whole).toBe(true);
    const opened = barOf(layOut(next, place, 980), place)!;
    expect(opened.members.map((node) => next.frame(node).label)).toContain("new");
  });
});

describe("very deep stacks", () => {
  it("have all of their rows", () => {
    const history = historyOf({ [Array.from({ length: 1500 }, (_, at) => `f${at}`).join(";")]: 5 });
    const graph = graphOf(history, all(history));
    expect(layOut(graph, find(graph, []), 500)).toHaveLength(1501);
  });
});
