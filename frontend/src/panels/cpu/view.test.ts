import { signal } from "@preact/signals";
import { describe, expect, it } from "vitest";
import { History, LIMITS } from "./model/history.ts";
import type { CpuStore } from "./store.ts";
import { CpuView } from "./view.ts";

/** A store without a server, whose tree holds few nodes. */
function filled() {
  const history = new History({ ...LIMITS, nodes: 60 });
  const parts = { history, version: signal(0), tree: signal(history.tree), threads: signal(new Map()) };
  const add = (second: number, stack: string, weightUs: number) => {
    const frames = stack.split(";").map((name) => history.table.number(name, "/app.py", 1));
    history.add({
      since: second * 1000,
      until: second * 1000 + 1000,
      samples: 1,
      stacks: [{ frames, weightUs, thread: 1, request: null }],
    });
    parts.tree.value = history.tree;
    parts.version.value++;
  };
  return { view: new CpuView(parts as unknown as CpuStore), add };
}

describe("a held picture", () => {
  it("stays what it was when the tree is pruned, whatever else is chosen", () => {
    const { view, add } = filled();
    for (let at = 0; at < 20; at++) add(at, `main;cold${at}`, 1);
    add(20, "main;hot", 1000);
    view.window.value = { kind: "last", seconds: 1 };
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
