import { encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";
import type { Access } from "./http.ts";
import { CommandError, Disconnected, Link, type World } from "./link.ts";

/** A WebSocket at the test's hand; only what Link uses. */
class Wire {
  static readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  sent: string[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(readonly address: string) {}

  send(command: string): void {
    this.sent.push(command);
  }

  close(): void {
    this.readyState = 3;
  }

  opened(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  broken(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  answer(value: unknown): void {
    this.#frame(0x30, value === "ok" ? new TextEncoder().encode("ok") : encode(value));
  }

  publish(counter: number): void {
    this.#frame(0x31, encode({ 0: 7, 1: 1, 9: counter, 2: [{ 0: 2, 1: 1 }] }));
  }

  #frame(channel: number, body: Uint8Array): void {
    const bytes = new Uint8Array(body.length + 1);
    bytes[0] = channel;
    bytes.set(body, 1);
    this.onmessage?.({ data: bytes.buffer });
  }
}

const HANDSHAKE = { 0: 8, 1: 1, 2: { pid: 7, process_name: "p", extensions: "stacks, blocked", server_id: "7-a" } };
const OPEN: Access = {
  kind: "open",
  application: "shop",
  obstacle: null,
  servers: [
    {
      id: "7-a",
      pid: 7,
      application: "shop",
      started: 1,
      alive: true,
      problem: null,
      rss: null,
      requests: null,
      sessions: null,
      name: null,
    },
  ],
};

let wires: Wire[];
let access: Access;
let timers: { run: () => void; ms: number }[];
let stopped: number[];
let time: number;
let link: Link;
let world: { -readonly [key in keyof World]: World[key] };

/** Milliseconds before each further attempt, of all timers. */
const retries = () => timers.map(({ ms }) => ms).filter((ms) => ms < 3000);

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

beforeEach(() => {
  (globalThis as { WebSocket?: unknown }).WebSocket = Wire;
  wires = [];
  timers = [];
  stopped = [];
  time = 1000;
  access = OPEN;
  world = {
    page: "http://h/__rbkit__/",
    open: (address) => {
      const wire = new Wire(address);
      wires.push(wire);
      return wire as unknown as WebSocket;
    },
    servers: async () => access,
    now: () => time,
    later: (run, ms) => timers.push({ run, ms }),
    never: (timer) => stopped.push(timer),
  };
  link = new Link(world, new Backoff(100, 1000, () => 1));
});

async function connected(): Promise<Wire> {
  link.connect();
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
    expect(link.state.value.kind).toBe("open");
    expect(wire.sent).toEqual(["handshake"]);
    expect(link.has("blocked")).toBe(true);
    expect(link.has("nothing")).toBe(false);
    expect(link.server.value).toBe("7-a");
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

  it("turns a server's error into one, and an ok to our own command too", async () => {
    const wire = await connected();
    const refused = link.ask("stacks");
    wire.answer({ error: "refused", message: "not now" });
    await expect(refused).rejects.toThrow("not now");
    const unknown = link.ask("stacks");
    wire.answer("ok");
    await expect(unknown).rejects.toBeInstanceOf(CommandError);
  });

  it("counts what was lost, by gaps and by the server's word, but not twice", async () => {
    const wire = await connected();
    for (const counter of [5, 6, 9]) wire.publish(counter);
    expect(link.lost.value).toBe(2);
    wire.onmessage?.({ data: "0dropped:2" });
    expect(link.lost.value).toBe(2);
    wire.onmessage?.({ data: "0dropped:9" });
    expect(link.lost.value).toBe(9);
    wire.publish(1);
    expect(link.lost.value).toBe(9);
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

  it("comes back by itself, fails what was asked, and greets again", async () => {
    const wire = await connected();
    let greeted = 0;
    link.onConnect(() => greeted++);
    const lost = link.command("trigger_gc");
    wire.broken(1001, "the worker is stopping");
    await expect(lost).rejects.toBeInstanceOf(Disconnected);
    expect(link.state.value).toEqual({
      kind: "waiting",
      why: "The worker was told to stop. (the worker is stopping)",
      retryAt: 1100,
    });
    timers.at(-1)?.run();
    await settled();
    wires.at(-1)?.opened();
    wires.at(-1)?.answer(HANDSHAKE);
    await settled();
    expect(link.state.value.kind).toBe("open");
    expect(link.reconnects.value).toBe(1);
    expect(greeted).toBe(2);
  });

  it("lets go when nobody sees the page, and comes back to the same worker", async () => {
    const wire = await connected();
    const asked = link.command("trigger_gc");
    link.rest();
    await expect(asked).rejects.toBeInstanceOf(Disconnected);
    expect(wire.readyState).toBe(3);
    expect(link.state.value).toEqual({ kind: "resting", since: 1000 });
    time = 5000;
    link.wake();
    await settled();
    expect(wires.at(-1)?.address).toBe("ws://h/__rbkit__/?server=7-a&frames=binary");
    expect(link.absence.value).toBeNull();
    link.rest();
    time = 25_000;
    link.wake();
    expect(link.absence.value).toEqual({ from: 5000, to: 25_000 });
    link.wake(); // it does not rest: nothing to do
    await settled();
    expect(wires).toHaveLength(3);
  });

  it("rests from trying, too, but leaves a shut door alone", async () => {
    access = { kind: "unreachable", why: "no" };
    link.connect();
    await settled();
    link.rest();
    expect(link.state.value.kind).toBe("resting");
    expect(stopped).toContain(timers.findIndex(({ ms }) => ms === 100) + 1);
    access = { kind: "locked" };
    link.wake();
    await settled();
    link.rest();
    expect(link.state.value.kind).toBe("locked");
  });

  it("says what it waits for once that takes long", async () => {
    const why = () => (link.state.value as { why?: string }).why;
    const late = () => timers.at(-1)?.run();
    let answer = (_: Access) => {};
    world.servers = () => new Promise((resolve) => (answer = resolve));
    link.connect();
    expect(why()).toBe("");
    late();
    expect(why()).toContain("The application does not answer yet");
    answer(OPEN);
    await settled();
    late();
    expect(why()).toContain("may not pass WebSockets on");
    const wire = wires.at(-1)!;
    wire.opened();
    late();
    expect(why()).toContain("the Rbkit server behind it does not answer");
    wire.broken(1011, "no answer to 'handshake' within 60 s");
    // The next attempt begins with what is known of the last.
    timers.at(-1)?.run();
    expect(link.state.value).toMatchObject({ kind: "connecting", why: expect.stringContaining("within 60 s") });
    answer(OPEN);
    await settled();
    wires.at(-1)!.opened();
    wires.at(-1)!.answer(HANDSHAKE);
    await settled();
    late();
    expect(link.state.value).toEqual({ kind: "open" });
  });

  it("takes any worker when the one it watched is gone", async () => {
    const wire = await connected();
    access = { ...OPEN, servers: [{ ...OPEN.servers[0]!, id: "8-b" }] } as Access;
    wire.broken(1006);
    timers.at(-1)?.run();
    await settled();
    expect(wires.at(-1)?.address).toBe("ws://h/__rbkit__/?frames=binary");
    expect(link.replaced.value).toBe("pid 7");
    link.connect();
    expect(link.replaced.value).toBeNull();
    // Loaded again with the name of one that has ended meanwhile.
    link.connect("6-z");
    await settled();
    expect(link.replaced.value).toBe("6-z");
  });

  it("stops at the door, and waits longer each time nobody answers", async () => {
    access = { kind: "locked" };
    link.connect();
    await settled();
    expect(link.state.value.kind).toBe("locked");
    access = { kind: "unreachable", why: "no" };
    link.connect();
    await settled();
    timers.at(-1)?.run();
    await settled();
    expect(retries()).toEqual([100, 200]);
    await expect(link.command("handshake")).rejects.toBeInstanceOf(Disconnected);
  });

  it("does not try again where the web server cannot carry it", async () => {
    access = { ...OPEN, obstacle: "one thread only" } as Access;
    link.connect();
    await settled();
    wires[0]?.broken(1006);
    expect(link.state.value).toEqual({ kind: "impossible", why: "one thread only" });
    expect(retries()).toEqual([]);
    // What proves wrong is forgotten, and stays so.
    (await connected()).broken(1006);
    expect(link.state.value.kind).toBe("waiting");
    timers.at(-1)?.run();
    await settled();
    wires.at(-1)?.broken(1006);
    expect(link.state.value.kind).toBe("waiting");
  });

  it("refuses a server without a handshake", async () => {
    link.connect();
    await settled();
    wires[0]?.opened();
    wires[0]?.answer("ok");
    await settled();
    expect(link.state.value).toMatchObject({ kind: "waiting", why: expect.stringContaining("handshake") });
  });
});
