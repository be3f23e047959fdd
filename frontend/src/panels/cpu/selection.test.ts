import { signal } from "@preact/signals";
import { describe, expect, it } from "vitest";
import { Observed } from "../../observed.ts";
import { gather, type Stretch } from "./model/graph.ts";
import { History, LIMITS } from "./model/history.ts";
import { CpuSelection } from "./selection.ts";
import type { CpuStore } from "./store.ts";

/** A store without a server, whose tree holds few nodes. */
function filled() {
  const history = new History({ ...LIMITS, nodes: 60 });
  const observed = new Observed(history);
  const parts = {
    history: observed,
    numbered: signal({ history }),
    pin: (span: Stretch) => {
      history.pinned = gather(history, span);
    },
    threads: signal(new Map()),
    clock: signal<"cpu" | "wall">("cpu"),
    waitingToo: signal(false),
    timed: signal(true),
  };
  const add = (second: number, stack: string, weightMs: number) => {
    const frames = stack.split(";").map((name) => history.table.number(name, "/app.py", 1));
    const { tree } = history;
    observed.change(() =>
      history.add({
        since: second * 1000,
        until: second * 1000 + 1000,
        samples: 1,
        stacks: [{ frames, wallMs: weightMs, cpuMs: weightMs, waiting: false, thread: 1, request: null }],
      }),
    );
    if (history.tree !== tree) parts.numbered.value = { history };
  };
  return { view: new CpuSelection(parts as unknown as CpuStore), add, ...parts };
}

describe("a held picture", () => {
  it("stays what it was when the tree is pruned, whatever else is chosen", () => {
    const { view, add } = filled();
    for (let at = 0; at < 20; at++) add(at, `main;cold${at}`, 1);
    add(20, "main;hot", 1000);
    view.window.value = { kind: "last", length: 1000 };
    view.hold(true);
    const shown = () => view.rows.value.map((row) => [row.frame.label, row.self]);
    expect(shown()).toEqual([
      ["main", 0],
      ["hot", 1000],
    ]);
    const before = view.graph.value.tree;
    for (let at = 0; at < 60; at++) add(21 + at, `main;later${at}`, 1);
    view.inverse.value = true;
    expect(view.graph.value.tree).not.toBe(before);
    expect(Array.from(view.graph.value.children(0)).map((node) => view.graph.value.frame(node).label)).toEqual(["hot"]);
    expect(new Map(shown() as [string, number][])).toEqual(
      new Map([
        ["main", 0],
        ["hot", 1000],
      ]),
    );
    view.hold(false);
    expect(view.rows.value.map((row) => row.frame.label)).toContain("later59");
  });
});

describe("the clock that is looked at", () => {
  it("changes what is shown and nothing else, and mixes nothing", () => {
    const { view, history: observed, clock, waitingToo } = filled();
    const history = observed.peek();
    const wait = [history.table.number("Condition.wait", "/usr/lib/python3.11/threading.py", 1)];
    const stack = (label: string, wallMs: number, cpuMs: number, waiting = false) => ({
      frames: [history.table.number(label, "/app.py", 1)],
      wallMs,
      cpuMs,
      waiting,
      thread: 1,
      request: waiting ? "GET /slow" : null,
    });
    const idle = { ...stack("", 0.5, 0.25), frames: wait };
    observed.change(() =>
      history.add({
        since: 0,
        until: 1000,
        samples: 4,
        stacks: [stack("computes", 100, 90), stack("sleeps", 100, 0), idle, stack("parked", 6500, 0, true)],
      }),
    );
    const shown = () => Object.fromEntries(view.rows.value.map((row) => [row.frame.label, row.self]));
    const cpu = { computes: 90, "Condition.wait": 0.25 };
    expect(shown()).toEqual(cpu);
    expect(view.timeline.value.busy[0]).toBeCloseTo(0.09);
    expect(view.unit.value).toBe("CPU time");
    view.pin("before");
    expect(view.graph.value.totalBefore?.[0]).toBeCloseTo(90.25);

    clock.value = "wall";
    expect(shown()).toEqual({ computes: 100, sleeps: 100 });
    expect(view.graph.value.totalBefore?.[0]).toBeCloseTo(200);
    waitingToo.value = true;
    expect(shown()).toEqual({ computes: 100, sleeps: 100, parked: 6500 });
    expect(view.timeline.value.busy[0]).toBeCloseTo(6.7);
    view.filter.value = { ...view.filter.value, busyOnly: false };
    expect(shown()).toEqual({ computes: 100, sleeps: 100, "Condition.wait": 0.5, parked: 6500 });

    clock.value = "cpu";
    expect(shown()).toEqual(cpu);
  });
});
