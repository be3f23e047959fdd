// Answers of a real server to every command, with the C extensions and without: tests/recordings/answers.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readProfile } from "./panels/cpu/model/decode.ts";
import { History } from "./panels/cpu/model/history.ts";
import { readBlocked, readLeftOut, readStacks } from "./panels/greenlets/model/decode.ts";
import { readMemory, readTracing } from "./panels/memory/model/decode.ts";
import type { Answers } from "./protocol/answers.ts";
import { isMap, number, type Packed, type Unchecked } from "./protocol/codec.ts";
import { type Answer, readAnswer } from "./protocol/frames.ts";
import { readHandshake } from "./protocol/handshake.ts";

const FOLDER = new URL("../../tests/recordings/answers/", import.meta.url);

function recorded(way: string): Map<string, Answer> {
  const names = readdirSync(new URL(way, FOLDER));
  return new Map(
    names.map((name) => {
      const bytes = readFileSync(new URL(`${way}/${name}`, FOLDER));
      return [name.replace(".msgpack", ""), readAnswer(new Uint8Array(bytes))];
    }),
  );
}

describe.each(["native", "plain"])("recorded answers (%s)", (way) => {
  const answers = recorded(way);
  const map = <Name extends keyof Answers>(name: Name): Unchecked<Answers[Name]> => {
    const answer = answers.get(name);
    if (!isMap(answer)) throw new Error(`${name} is no map`);
    return answer;
  };

  it("are ok or a map", () => {
    expect(answers.size).toBeGreaterThan(20);
    for (const [name, answer] of answers) expect(answer === "ok" || isMap(answer), name).toBe(true);
  });

  it("tell what the server is", () => {
    const handshake = readHandshake(answers.get("handshake")!)!;
    expect(handshake).toMatchObject({ protocolVersion: "2.1", language: "python", clock: "cpu", linger: 10_000 });
    expect(handshake.pid).toBeGreaterThan(0);
    for (const name of handshake.extensions) expect(answers.has(name), name).toBe(true);
    expect(map("status")).toMatchObject({ pid: handshake.pid, server_id: handshake.facts.get("server_id") });
  });

  it("have CPU samples by frame, thread and request", () => {
    const history = new History();
    const profile = readProfile(map("cpu_profile"), history);
    expect(profile).toMatchObject({ running: true, both: true, clock: "wall", intervalMs: 0.5, unseen: "" });
    const stacks = profile.delta!.stacks;
    expect(stacks.map((stack) => stack.request)).toContain("GET /busy");
    expect(stacks.every((stack) => stack.frames.length && profile.threads.has(stack.thread))).toBe(true);
    const labels = stacks.flatMap((stack) => stack.frames.map((frame) => history.table.frames[frame]!.label));
    expect(labels).toContain("burn_cpu");
    expect(profile.watching!.serverMs).toBeGreaterThan(0);
  });

  it("have every thread and greenlet", () => {
    const tasks = readStacks(map("stacks"));
    expect(readLeftOut(map("stacks"))).toEqual({ threads: 0, greenlets: 0 });
    const napping = tasks.find((task) => task.kind === "greenlet" && task.request === "GET /nap")!;
    expect(napping).toMatchObject({ state: "waiting", waitingOn: "sleep" });
    expect(napping.requestAge).toBeGreaterThan(0);
    expect(napping.stack.map((frame) => frame.label)).toContain("nap");
    expect(tasks.find((task) => task.kind === "thread")).toMatchObject({ name: "MainThread" });
  });

  it("have what blocked the loop, by its line", () => {
    const { count, limit, culprits } = readBlocked(map("blocked"));
    expect(limit).toBe(100);
    expect(count).toBeGreaterThanOrEqual(1);
    const culprit = culprits.find((one) => one.request === "GET /block")!;
    expect(culprit.line!.label).toBe("hold_the_loop");
    expect(culprit.longest).toBeGreaterThan(200);
  });

  it("have what lives, and which objects are traced", () => {
    const memory = readMemory(map("memory_profile"));
    expect(memory.running).toBe(true);
    expect(memory.classes.find(([name]) => name === "support.apps.Leaked")![1]).toBeGreaterThanOrEqual(3);
    expect(memory.totalLive).toBeGreaterThan(10_000);
    expect(memory.gc.get("rss")).toBeGreaterThan(1e6);
    expect(readTracing(map("trace_objects")).patterns).toEqual(["support.apps.*"]);
  });

  it("have a snapshot and its chunks", () => {
    expect(map("snapshot_start").state).toBe("running");
    const facts = map("snapshot_status");
    const chunk = map("snapshot_chunk") as Unchecked<Extract<Answers["snapshot_chunk"], { total: number }>>;
    expect(chunk).toMatchObject({ id: facts.id, n: number(facts.chunks)! - 1, total: facts.objects });
    const objects = chunk.objects as readonly Packed[];
    expect(objects.length).toBe(number(facts.objects)! % 1000);
    expect(objects.every((one) => number(one[3]) !== null && Array.isArray(one[5]))).toBe(true);
  });

  it("say why a command cannot be done", () => {
    expect(answers.get("error")).toMatchObject({ error: "unknown_snapshot" });
  });
});
