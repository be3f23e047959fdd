import { beforeEach, describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";
import { Disconnected } from "./commandqueue.ts";
import type { World } from "./connection.ts";
import { Link } from "./link.ts";
import { OPEN, settled, Wire } from "./testwire.ts";

const HANDSHAKE = { 0: 8, 1: 1, 2: { pid: 7, process_name: "p", extensions: "stacks, blocked", server_id: "7-a" } };
let wires: Wire[];
let link: Link;

beforeEach(() => {
  (globalThis as { WebSocket?: unknown }).WebSocket = Wire;
  wires = [];
  let timers = 0;
  const world: World = {
    page: "http://h/__rbkit__/",
    open: (address) => {
      const wire = new Wire(address);
      wires.push(wire);
      return wire as unknown as WebSocket;
    },
    servers: async () => OPEN,
    now: () => 1000,
    later: () => ++timers,
    never: () => {},
  };
  link = new Link(world, new Backoff(100, 1000, () => 1));
});

async function connected(): Promise<Wire> {
  link.connection.connect();
  await settled();
  const wire = wires.at(-1)!;
  wire.opened();
  wire.answer(HANDSHAKE);
  await settled();
  return wire;
}

describe("a link", () => {
  it("is open after the handshake, and knows the server", async () => {
    const wire = await connected();
    expect(link.open).toBe(true);
    expect(wire.sent).toEqual(["handshake"]);
    expect(link.has("blocked")).toBe(true);
    expect(link.has("nothing")).toBe(false);
    expect(link.connection.server.value).toBe("7-a");
  });

  it("pairs answers with commands in their order", async () => {
    const wire = await connected();
    const one = link.command("trigger_gc");
    const two = link.ask("stacks");
    wire.answer("ok");
    wire.answer({ pid: 7 });
    expect(await one).toBe("ok");
    expect(await two).toEqual({ pid: 7 });
  });

  it("counts what was lost, and begins anew with each connection", async () => {
    const wire = await connected();
    for (const counter of [5, 6, 9]) wire.publish(counter);
    wire.onmessage?.({ data: "0dropped:3" });
    expect(link.lost.value).toBe(3);
    wire.onmessage?.({ data: "0client_count:3" });
    const next = await connected();
    next.publish(400);
    expect([link.lost.value, link.clients.value]).toEqual([0, null]);
  });

  it("hands out events until told not to", async () => {
    const wire = await connected();
    const seen: number[] = [];
    const end = link.onEvents((events) => seen.push(events.length));
    wire.publish(1);
    end();
    wire.publish(2);
    expect(seen).toEqual([1]);
  });

  it("hears of other clients", async () => {
    const wire = await connected();
    wire.onmessage?.({ data: "0client_count:3" });
    expect(link.clients.value).toBe(3);
  });

  it("fails what was asked when the connection ends, and greets again", async () => {
    const wire = await connected();
    let greeted = 0;
    link.onConnect(() => greeted++);
    const lost = link.command("trigger_gc");
    wire.broken(1001, "the worker is stopping");
    await expect(lost).rejects.toBeInstanceOf(Disconnected);
    expect(link.open).toBe(false);
    expect(link.handshake.value?.pid).toBe(7);
    await connected();
    expect([link.open, greeted]).toEqual([true, 2]);
  });

  it("sees what has been switched on since", async () => {
    const wire = await connected();
    const seen = link.refreshHandshake();
    wire.answer({ ...HANDSHAKE, 2: { ...HANDSHAKE[2], cpu_profiling_enabled: 1 } });
    await seen;
    expect(link.handshake.value?.cpuProfiling).toBe(true);
  });

  it("takes no harm from what it cannot read", async () => {
    const wire = await connected();
    for (const data of ["hello", Uint8Array.of(0x31, 0xc1).buffer, Uint8Array.of(0x39).buffer])
      wire.onmessage?.({ data });
    expect([link.open, link.lost.value]).toEqual([true, 0]);
  });
});
