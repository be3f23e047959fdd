import { describe, expect, it } from "vitest";
import { collapsed, speedscope } from "./export.ts";
import { differenceOf, type Grouping, graphOf, rowsOf, weigh } from "./graph.ts";
import { History } from "./history.ts";
import { kindOf } from "./tree.ts";

const EVERYTHING = { thread: null, request: null, busyOnly: false, clock: "wall", waitingToo: false } as const;

function shape(inverse = false, group: Grouping = "none") {
  return { inverse, group, threadNames: new Map([[1, "MainThread"]]), focus: [] };
}

/** `stacks`: "a;b;c" to a weight, or a weight with a request. */
function historyOf(...seconds: { [stack: string]: number }[]): History {
  const history = new History();
  seconds.forEach((stacks, second) => {
    history.add({
      since: second * 1000,
      until: second * 1000 + 1000,
      samples: 1,
      stacks: Object.entries(stacks).map(([stack, weightMs]) => ({
        frames: stack.split(";").map((name) => history.table.number(name, "/app.py", 3)),
        wallMs: weightMs,
        cpuMs: weightMs,
        waiting: false,
        thread: 1,
        request: stack.includes("view") ? "GET /" : null,
      })),
    });
  });
  return history;
}

const all = (history: History) => weigh(history, "all", EVERYTHING);

describe("a flame graph", () => {
  const history = historyOf({ "main;a;b": 30, "main;a": 10, "main;view;a;b": 60 });

  it("knows self and total of each node, and of each function", () => {
    const graph = graphOf(history, all(history), shape());
    expect(graph.total[0]).toBe(100);
    const rows = Object.fromEntries(rowsOf(graph).map((row) => [row.frame.label, [row.self, row.total]]));
    expect(rows).toEqual({ main: [0, 100], a: [10, 100], b: [90, 90], view: [0, 60] });
  });

  it("turned over has the innermost functions on top", () => {
    const graph = graphOf(history, all(history), shape(true));
    const top = Array.from(graph.children(0)).map((node) => [graph.frame(node).label, graph.total[node]]);
    expect(top).toEqual([
      ["a", 10],
      ["b", 90],
    ]);
  });

  it("counts recursion once", () => {
    const recursive = historyOf({ "f;f;f": 5, f: 1 });
    expect(rowsOf(graphOf(recursive, all(recursive), shape()))).toMatchObject([{ self: 6, total: 6 }]);
  });

  it("groups by request and thread", () => {
    const names = (group: Grouping) => {
      const graph = graphOf(history, all(history), shape(false, group));
      return Array.from(graph.children(0)).map((node) => [graph.frame(node).label, graph.total[node]]);
    };
    expect(names("request")).toEqual([
      ["(no request)", 40],
      ["GET /", 60],
    ]);
    expect(names("thread")).toEqual([["MainThread", 100]]);
  });

  it("compares shares, not sums", () => {
    const two = historyOf({ "main;a": 10, "main;b": 10 }, { "main;a": 60, "main;b": 20 });
    const before = weigh(two, { from: 0, to: 1000 }, EVERYTHING);
    const after = weigh(two, { from: 1000, to: 2000 }, EVERYTHING);
    const graph = differenceOf(two, before, after, shape());
    const [a, b] = Array.from(graph.children(graph.children(0)[0]!));
    expect(graph.totalBefore?.[0]).toBe(80);
    expect(graph.change(a!)).toBeCloseTo(0.2);
    expect(graph.change(b!)).toBeCloseTo(-1 / 3);
    expect(graph.width(a!)).toBe(100);
  });
});

describe("files", () => {
  const history = historyOf({ "main;a;b": 30, "main;x;y": 7 });
  const graph = graphOf(history, all(history), shape());

  it("of collapsed stacks have a line a stack", () => {
    expect(collapsed(graph).trim().split("\n").sort()).toEqual(["main;a;b 30000", "main;x;y 7000"]);
    // Of a server that does not tell what a sample stands for they have samples.
    expect(collapsed(graph, 0.5).trim().split("\n").sort()).toEqual(["main;a;b 60", "main;x;y 14"]);
  });

  it("for speedscope have samples, weights and their sum", () => {
    const file = JSON.parse(speedscope(graph, "p"));
    const profile = file.profiles[0];
    const named = profile.samples.map((stack: number[]) => stack.map((at) => file.shared.frames[at].name).join(";"));
    expect(named.map((stack: string, at: number) => [stack, profile.weights[at]])).toContainEqual(["main;a;b", 30_000]);
    expect(profile).toMatchObject({ type: "sampled", unit: "microseconds", endValue: 37_000 });
    expect(JSON.parse(speedscope(graph, "p", 0.5)).profiles[0]).toMatchObject({ unit: "none", endValue: 74 });
  });
});

describe("whose code it is", () => {
  it.each([
    ["/srv/shop/views.py", "app"],
    ["/venv/lib/python3.11/site-packages/flask/app.py", "library"],
    ["/usr/lib/python3.11/json/decoder.py", "standard"],
    ["<frozen importlib._bootstrap>", "standard"],
    ["/var/lib/gems/3.1.0/gems/rack-2/lib/rack.rb", "library"],
    ["/usr/lib/ruby/3.1.0/json.rb", "standard"],
    ["/src/rbkit_websocket/middleware.py", "library"],
    ["rbkit_demo/app.py", "app"],
  ])("%s: %s", (file, kind) => expect(kindOf(file)).toBe(kind));

  it("is nobody's where the server names what has no function", () => {
    expect(kindOf("", "(garbage collection)")).toBe("collector");
    expect(kindOf("<interpreter>", "(garbage collection)")).toBe("collector");
    expect(kindOf("", "(… 744 frames …)")).toBe("omitted");
    expect(kindOf("/srv/app.py", "(… 744 frames …)")).toBe("app");
    expect(kindOf("/srv/app.py", "(garbage collection)")).toBe("app");
  });
});
