import { describe, expect, it } from "vitest";
import { filtered, gather, graphOf, rowsOf, weigh } from "./graph.ts";
import { type Delta, History, LIMITS, requestOf, type WeighedStack } from "./history.ts";
import { LIGHT } from "./tree.ts";

const EVERYTHING = { thread: null, request: null, busyOnly: false, clock: "wall", waitingToo: false } as const;
const UPRIGHT = { inverse: false, group: "none", threadNames: new Map(), focus: [] } as const;

function stackOf(history: History, names: string[], weightMs: number, more: Partial<WeighedStack> = {}): WeighedStack {
  const frames = names.map((name) => history.table.number(name, "/srv/app.py", 1));
  return { frames, wallMs: weightMs, cpuMs: weightMs, waiting: false, thread: 1, request: null, ...more };
}

function delta(second: number, stacks: WeighedStack[]): Delta {
  return { since: second * 1000, until: (second + 1) * 1000, samples: stacks.length, stacks };
}

/** A generator that gives the same figures in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// The numbers of a table's frames; a pruned history has another table.
const known = new WeakMap<object, Map<string[], number[]>>();

function numbers(history: History, names: string[]): number[] {
  const stacks = known.get(history.table) ?? new Map<string[], number[]>();
  known.set(history.table, stacks);
  const found = stacks.get(names) ?? names.map((name) => history.table.number(name, "/srv/app.py", 1));
  stacks.set(names, found);
  return found;
}

function sumOf(weights: Map<number, number | { readonly wallMs: number }>): number {
  return [...weights.values()].reduce<number>(
    (sum, weight) => sum + (typeof weight === "number" ? weight : weight.wallMs),
    0,
  );
}

describe("a pin", () => {
  it("outlives its process: functions, requests and weights are the same in the next one's history", () => {
    const former = new History();
    former.add(delta(0, [stackOf(former, ["main", "work"], 70, { request: "GET /a" }), stackOf(former, ["main"], 30)]));
    former.pinned = gather(former, "all");
    const next = new History();
    next.add(delta(9, [stackOf(next, ["other", "main", "work"], 5, { request: "GET /b", thread: 9 })]));
    next.adopt(former);
    const weights = filtered(next, next.pinned!, EVERYTHING);
    expect(sumOf(weights)).toBe(100);
    const rows = rowsOf(graphOf(next, weights, UPRIGHT)).map(({ frame, self, total }) => [frame.label, self, total]);
    expect(rows.sort()).toEqual([
      ["main", 30, 100],
      ["work", 70, 70],
    ]);
    expect([...weights.keys()].map((entry) => next.requests[requestOf(entry)]).sort()).toEqual(["GET /a", null]);
    next.adopt(new History());
    expect(next.pinned).toBeNull();
  });
});

describe("a history", () => {
  it("adds up everything, and what lies in a window", () => {
    const history = new History();
    for (let second = 0; second < 10; second++) history.add(delta(second, [stackOf(history, ["main", "work"], 100)]));
    expect(sumOf(weigh(history, "all", EVERYTHING))).toBe(1000);
    expect(sumOf(weigh(history, { from: 7000, to: 10_000 }, EVERYTHING))).toBe(300);
    expect(history.totalSamples).toBe(10);
  });

  it("filters by thread, by request, and what only waits", () => {
    const history = new History();
    const waiting = {
      frames: [history.table.number("Condition.wait", "/usr/lib/python3.11/threading.py", 1)],
      wallMs: 64,
      cpuMs: 64,
      waiting: false,
      thread: 3,
      request: null,
    };
    history.add(
      delta(0, [
        stackOf(history, ["a"], 1, { request: "GET /" }),
        stackOf(history, ["a"], 2, { thread: 2 }),
        stackOf(history, ["a"], 4),
        waiting,
      ]),
    );
    const sum = (filter: Partial<typeof EVERYTHING> | object) =>
      sumOf(weigh(history, "all", { ...EVERYTHING, ...filter }));
    expect(sum({})).toBe(71);
    expect(sum({ request: "GET /" })).toBe(1);
    expect(sum({ request: "" })).toBe(70);
    expect(sum({ thread: 2 })).toBe(2);
    expect(sum({ busyOnly: true })).toBe(7);
    expect(history.fine[0]?.idleMs).toBe(64);
  });

  it("merges old stretches and forgets the oldest, but keeps their sum", () => {
    const history = new History({ ...LIMITS, fine: 10, merged: 5, coarse: 4 });
    for (let second = 0; second < 100; second++) history.add(delta(second, [stackOf(history, ["main"], 1)]));
    expect(history.fine.length).toBeLessThanOrEqual(10);
    expect(history.coarse).toHaveLength(4);
    expect(history.coarse[0]).toMatchObject({ wallMs: 5, cpuMs: 5, samples: 5 });
    expect(sumOf(history.totals)).toBe(100);
  });

  it("cuts light stacks to their callers where there are too many, without losing weight", () => {
    const history = new History({ ...LIMITS, fine: 4, merged: 4, coarse: 10, entries: 10 });
    for (let second = 0; second < 6; second++) {
      const stacks = Array.from({ length: 50 }, (_, at) => stackOf(history, ["main", `f${at}`, `g${at}`], at + 1));
      history.add(delta(second, stacks));
    }
    const merged = history.coarse[0]!;
    expect(merged.entries.length).toBeLessThanOrEqual(10);
    expect(merged.walls.reduce((sum, weight) => sum + weight, 0)).toBe(4 * 1275);
    // What was cut is shown as what it is, and not as time of the callers' own.
    const self = Object.fromEntries(
      rowsOf(graphOf(history, weigh(history, "all", EVERYTHING), UPRIGHT)).map((row) => [row.frame.label, row.self]),
    );
    const cut = Object.fromEntries(
      rowsOf(graphOf(history, weigh(history, { from: 0, to: 4000 }, EVERYTHING), UPRIGHT)).map((row) => [
        row.frame.label,
        row.self,
      ]),
    );
    expect(self.main).toBe(0);
    expect(cut.main).toBe(0);
    expect(cut[LIGHT]).toBeGreaterThan(0);
  });

  it("keeps apart what only waits, also where it is cut", () => {
    const history = new History({ ...LIMITS, fine: 4, merged: 4, coarse: 10, entries: 6 });
    const wait = (at: number): WeighedStack => ({
      frames: [
        history.table.number(`caller${at}`, "/srv/app.py", 1),
        history.table.number("Condition.wait", "/usr/lib/python3.11/threading.py", 1),
      ],
      wallMs: 3,
      cpuMs: 3,
      waiting: false,
      thread: 1,
      request: null,
    });
    for (let second = 0; second < 6; second++) {
      history.add(
        delta(
          second,
          Array.from({ length: 40 }, (_, at) => (at % 2 ? wait(at) : stackOf(history, [`f${at}`, "g"], 5))),
        ),
      );
    }
    expect(history.coarse[0]?.idleMs).toBe(4 * 20 * 3);
    expect(sumOf(weigh(history, { from: 0, to: 4000 }, { ...EVERYTHING, busyOnly: true }))).toBe(4 * 20 * 5);
  });

  it("prunes the tree to what is heavy, and everything still adds up", () => {
    const history = new History({ ...LIMITS, nodes: 200, totals: 10_000 });
    for (let second = 0; second < 20; second++) {
      history.add(
        delta(second, [
          stackOf(history, ["main", "hot"], 1000),
          ...Array.from({ length: 20 }, (_, at) => stackOf(history, ["main", `cold${second}-${at}`], 1)),
        ]),
      );
    }
    expect(history.tree.size).toBeLessThanOrEqual(200);
    expect(history.table.frames.length).toBeLessThanOrEqual(200);
    const graph = graphOf(history, weigh(history, "all", EVERYTHING), UPRIGHT);
    expect(graph.total[0]).toBe(20 * 1020);
    const hot = rowsOf(graph).find((row) => row.frame.label === "hot");
    expect(hot?.self).toBe(20_000);
    expect(sumOf(weigh(history, { from: 0, to: 20_000 }, EVERYTHING))).toBe(20 * 1020);
  });

  it("keeps pinned weights valid when the tree is pruned", () => {
    const history = new History({ ...LIMITS, nodes: 60 });
    history.add(delta(0, [stackOf(history, ["main", "hot"], 500)]));
    history.pinned = new Map(history.totals);
    for (let at = 0; at < 100; at++) history.add(delta(at + 1, [stackOf(history, ["main", `cold${at}`], 1)]));
    const graph = graphOf(history, filtered(history, history.pinned, EVERYTHING), UPRIGHT);
    expect(rowsOf(graph).map((row) => [row.frame.label, row.self])).toContainEqual(["hot", 500]);
  });

  it("stays small over an hour at 1 kHz with stacks 100 deep", () => {
    const history = new History();
    const next = random(7);
    // The thousand samples of a second fall into a hundred distinct stacks; a tenth of them has never been seen before.
    const pool = Array.from({ length: 2000 }, (_, at) => names(at));
    function names(at: number): string[] {
      return Array.from({ length: 100 }, (_, depth) =>
        depth < 40 ? `base${depth}` : `f${at % 50}.${depth}.${at % (depth * 7)}`,
      );
    }
    for (let second = 0; second < 3600; second++) {
      const stacks = Array.from({ length: 100 }, (_, at) => {
        if (at % 10 === 0) pool[Math.floor(next() * pool.length)] = names(2000 + second * 10 + at);
        const chosen = Math.floor(next() * pool.length);
        return {
          frames: numbers(history, pool[chosen]!),
          wallMs: 10_000,
          cpuMs: 10_000,
          waiting: false,
          thread: 1,
          request: `GET /${chosen % 300}`,
        };
      });
      history.add(delta(second, stacks));
    }
    const kept = [...history.fine, ...history.coarse].reduce((sum, bucket) => sum + bucket.entries.length, 0);
    expect(history.tree.size).toBeGreaterThan(10_000);
    expect(history.tree.size).toBeLessThanOrEqual(LIMITS.nodes);
    expect(history.table.frames.length).toBeLessThanOrEqual(LIMITS.nodes);
    expect(history.totals.size).toBeLessThanOrEqual(LIMITS.totals);
    expect(kept).toBeLessThanOrEqual(LIMITS.fine * 100 + LIMITS.coarse * LIMITS.entries);
    expect(sumOf(history.totals)).toBe(3600 * 100 * 10_000);
    expect(sumOf(weigh(history, { from: 0, to: 3600_000 }, EVERYTHING))).toBeCloseTo(3600 * 100 * 10_000, -6);
  }, 300_000);
});
