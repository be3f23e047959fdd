import { describe, expect, it } from "vitest";
import { RawSamples, readProfile } from "./decode.ts";
import { History } from "./history.ts";

const ANSWER = {
  cursor: 99,
  running: true,
  clock: "cpu",
  interval_us: 1000,
  effective_interval_us: 10_000,
  since: 1000,
  until: 2000,
  samples: 3,
  lost_us: 0,
  frames: [
    ["main", "main", "/app.py", 1, 5],
    ["<b>", "<b>", "/app.py", 9, 10],
  ],
  stacks: [{ weight_us: 3000, count: 3, thread: 7, request: "GET /", frames: [1, 0, 55] }],
  threads: { 7: "MainThread" },
};

describe("an answer of cpu_profile", () => {
  it("becomes a delta with the outermost frame first", () => {
    const history = new History();
    const read = readProfile(ANSWER, history);
    const stack = read.delta?.stacks[0];
    expect(stack?.frames.map((frame) => history.table.frames[frame]?.label)).toEqual(["main", "<b>"]);
    expect(stack).toMatchObject({ cpuMs: 3, wallMs: 0, waiting: false, thread: 7, request: "GET /" });
    expect(read).toMatchObject({ cursor: 99, running: true, effectiveIntervalMs: 10 });
    expect(read.threads.get(7)).toBe("MainThread");
  });

  it("has both clocks where the server has, and says what waits", () => {
    const stacks = [
      { wall_us: 3000, cpu_us: 1000, weight_us: 1000, waiting: false, thread: 7, frames: [1, 0] },
      { wall_us: 9000, cpu_us: 0, weight_us: 0, waiting: true, thread: 7, request: "GET /", frames: [0] },
    ];
    const read = readProfile({ ...ANSWER, wall_us: 3000, cpu_us: 1000, waiting_us: 9000, stacks }, new History());
    expect(read.both).toBe(true);
    expect(read.delta?.stacks.map(({ wallMs, cpuMs, waiting }) => [wallMs, cpuMs, waiting])).toEqual([
      [3, 1, false],
      [9, 0, true],
    ]);
    const older = readProfile({ ...ANSWER, clock: "wall" }, new History());
    expect(older.both).toBe(false);
    expect(older.delta?.stacks[0]).toMatchObject({ cpuMs: 0, wallMs: 3 });
  });

  it("tells what it costs to watch, where the server does", () => {
    const watching = { since: 1000, until: 3000, server_us: 20_000, sampler_us: 6000, application_us: 4000 };
    expect(readProfile({ ...ANSWER, watching }, new History()).watching).toEqual({
      since: 1000,
      until: 3000,
      serverMs: 20,
      samplerMs: 6,
      applicationMs: 4,
    });
    expect(readProfile(ANSWER, new History()).watching).toBeNull();
  });

  it("of another shape breaks nothing", () => {
    const strange = { frames: [null, 3, ["x"]], stacks: [1, { frames: "no" }, { weight_us: "x", frames: [2] }] };
    expect(() => readProfile(strange, new History())).not.toThrow();
    expect(readProfile({}, new History()).delta).toBeNull();
  });
});

describe("published samples", () => {
  const frame = (label: string, line: number, file = "/app.rb") => ({ 12: label, 13: label, 6: file, 7: line, 15: 4 });

  it("are counted at an interval each, a request's name taken out", () => {
    const history = new History();
    const raw = new RawSamples(history, 1, () => "wall");
    raw.take([
      { 0: 9, 1: 5000, 2: [frame("inner", 3), frame("outer", 1)] },
      { 0: 9, 1: 5001, 2: [frame("inner", 3), frame("GET /users/<id>", 0, "")] },
      { 0: 6, 1: 5001, 2: {} },
      { 0: 9, 1: 5002, 2: [] },
    ]);
    const delta = raw.drain();
    expect(delta).toMatchObject({ since: 5000, until: 5001, samples: 2 });
    expect(delta?.stacks.map(({ request, wallMs, thread }) => [request, wallMs, thread])).toEqual([
      [null, 1, 4],
      ["GET /users/<id>", 1, 4],
    ]);
    expect(delta?.stacks[0]?.frames.map((at) => history.table.frames[at]?.label)).toEqual(["outer", "inner"]);
    expect(raw.drain()).toBeNull();
  });
});
