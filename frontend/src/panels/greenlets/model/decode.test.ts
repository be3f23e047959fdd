import { describe, expect, it } from "vitest";
import { group, ownFrame, readBlocked, readStacks } from "./decode.ts";

const frame = (name: string, file: string, line: number) => [name, `Class.${name}`, file, 1, line];
const STACK = [frame("sleep", "/venv/site-packages/gevent/hub.py", 166), frame("view", "/srv/app.py", 12)];

const greenlet = (more: object) => ({
  id: 1,
  name: "Greenlet: handle",
  thread: 7,
  state: "waiting",
  waiting_on: "sleep",
  age: 900,
  request: "GET /slow",
  request_age: 2,
  stack: STACK,
  ...more,
});

describe("stacks", () => {
  it("groups what stands at one place for one request, requests first", () => {
    const tasks = readStacks({
      threads: [{ id: 7, name: "main", native_id: 7, state: "running", request: null, stack: [] }],
      greenlets: [
        greenlet({}),
        greenlet({ id: 2, request_age: 5 }),
        greenlet({ id: 3, request_age: null }),
        greenlet({ id: 4, request: "GET /other" }),
        greenlet({ id: 5, request: null, state: "running", waiting_on: null }),
      ],
    });
    expect(tasks).toHaveLength(6);
    const groups = group(tasks);
    expect(groups.map((one) => [one.kind, one.request, one.count, one.state])).toEqual([
      ["greenlet", "GET /slow", 3, "waiting"],
      ["greenlet", "GET /other", 1, "waiting"],
      ["greenlet", "", 1, "running"],
      ["thread", "", 1, "running"],
    ]);
    // Not the 900 s of its connection; what serves no request is as old as it is.
    expect([groups[0]!.oldest, groups[0]!.youngest]).toEqual([5000, 2000]);
    expect(groups[2]!.oldest).toBe(900_000);
    expect(group(readStacks({ greenlets: [greenlet({ request_age: undefined })] }))[0]!.oldest).toBeNull();
    expect(groups[0]!.stack[1]).toEqual({ label: "Class.view", file: "/srv/app.py", line: 12 });
  });

  it("filters by request, name, function and file in any case", () => {
    const tasks = readStacks({ greenlets: [greenlet({}), greenlet({ id: 2, request: "GET /x", stack: [] })] });
    expect(group(tasks, "APP.PY")).toHaveLength(1);
    expect(group(tasks, "/x")).toHaveLength(1);
    expect(group(tasks, "handle")).toHaveLength(2);
    expect(group(tasks, "nothing")).toEqual([]);
  });

  it("survives what is no such answer", () => {
    expect(readStacks({})).toEqual([]);
    const odd = readStacks({ threads: 5, greenlets: [null, {}, { stack: [1, ["only"]], state: "odd", age: "old" }] });
    expect(odd.map((task) => [task.state, task.age, task.stack.length])).toEqual([
      ["unknown", null, 0],
      ["unknown", null, 1],
    ]);
  });

  it("points at the application's own innermost frame", () => {
    const read = readStacks({ greenlets: [greenlet({})] })[0]!.stack;
    expect(ownFrame(read)?.file).toBe("/srv/app.py");
    expect(ownFrame(read.slice(0, 1))?.label).toBe("Class.sleep");
    expect(ownFrame([])).toBeNull();
  });
});

describe("blocked", () => {
  it("reads the culprits and the block that lasts", () => {
    const read = readBlocked({
      limit: 0.1,
      since: 1e12,
      count: 3,
      total: 2.5,
      longest: 2,
      now: { seconds: 1.5, request: "GET /now", stack: STACK },
      stacks: [{ request: null, count: 2, total: 1, longest: 0.6, last: 1e12, stack: STACK }, 7],
    });
    expect(read.now).toMatchObject({ lasts: 1500, request: "GET /now" });
    expect(read.culprits).toHaveLength(1);
    expect(read.culprits[0]).toMatchObject({ request: "", count: 2, longest: 600 });
  });

  it("names the line as the server found it, and what it called", () => {
    const deep = [frame("c", "/srv/helpers.py", 3), frame("b", "/srv/helpers.py", 2), frame("view", "/srv/app.py", 12)];
    const inner = [{ count: 4, total: 2, longest: 0.9, stack: deep.slice(0, 2) }, { count: 1, stack: [] }, "odd"];
    const entry = { request: "GET /a", count: 5, total: 2.5, longest: 0.9, stack: deep, line: 2, inner };
    const [grouped, old] = readBlocked({ stacks: [entry, { ...entry, line: null, inner: undefined }] }).culprits;
    expect(grouped!.line).toMatchObject({ file: "/srv/app.py", line: 12 });
    expect(grouped!.inner.map(({ count, longest, stack }) => [count, longest, stack.length])).toEqual([
      [4, 900, 2],
      [1, 0, 0],
    ]);
    expect([old!.line?.file, old!.inner]).toEqual(["/srv/helpers.py", []]);
  });

  it("takes an empty answer for none", () => {
    expect(readBlocked({})).toEqual({ limit: 0, since: null, count: 0, total: 0, longest: 0, now: null, culprits: [] });
  });
});
