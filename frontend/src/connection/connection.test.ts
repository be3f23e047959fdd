import { beforeEach, describe, expect, it } from "vitest";
import { type Handshake, readHandshake } from "../protocol/handshake.ts";
import { Backoff } from "./backoff.ts";
import { Connection, type World } from "./connection.ts";
import type { Access } from "./http.ts";
import { OPEN, settled, Wire } from "./testwire.ts";

const HANDSHAKE = readHandshake({ 0: 8, 1: 1, 2: { pid: 7, process_name: "p", server_id: "7-a" } });
let wires: Wire[];
let access: Access;
let timers: { run: () => void; ms: number }[];
let stopped: number[];
let time: number;
let told: string[];
let greet: { with(handshake: Handshake | null): void; fails(): void };
let connection: Connection;
let world: { -readonly [key in keyof World]: World[key] };

/** Milliseconds before each further attempt, of all timers. */
const retries = () => timers.map(({ ms }) => ms).filter((ms) => ms < 3000);

beforeEach(() => {
  (globalThis as { WebSocket?: unknown }).WebSocket = Wire;
  wires = [];
  timers = [];
  stopped = [];
  told = [];
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
  const traffic = {
    opening: () => void told.push("opening"),
    receive: (data: unknown) => void told.push(`receive ${data}`),
    ended: () => {
      told.push("ended");
      greet?.fails();
    },
    greet: () =>
      new Promise<Handshake | null>((resolve, reject) => {
        greet = { with: resolve, fails: () => reject(new Error("the connection ended")) };
      }),
    greeted: () => void told.push("greeted"),
  };
  connection = new Connection(world, traffic, new Backoff(100, 1000, () => 1));
});

async function connected(): Promise<Wire> {
  connection.connect();
  await settled();
  const wire = wires.at(-1)!;
  wire.opened();
  greet.with(HANDSHAKE);
  await settled();
  told.length = 0;
  return wire;
}

describe("a connection", () => {
  it("is open after the handshake, to the worker that told its name", async () => {
    connection.connect();
    await settled();
    expect(connection.send("early")).toBe(false);
    wires[0]?.opened();
    expect(connection.state.value.kind).toBe("connecting");
    greet.with(HANDSHAKE);
    await settled();
    expect(connection.state.value.kind).toBe("open");
    expect(connection.server.value).toBe("7-a");
    expect([connection.send("handshake"), wires[0]?.sent]).toEqual([true, ["handshake"]]);
    wires[0]?.onmessage?.({ data: "0dropped:1" });
    expect(told).toEqual(["ended", "opening", "greeted", "receive 0dropped:1"]);
  });

  it("tells of each handshake, and at once of the one that was", async () => {
    const pids: (number | null)[] = [];
    const listener = (handshake: Handshake) => void pids.push(handshake.pid);
    connection.onConnect(listener);
    await connected();
    const end = connection.onConnect((handshake) => pids.push((handshake.pid ?? 0) * 10));
    end();
    await connected();
    expect(pids).toEqual([7, 70, 7]);
  });

  it("comes back by itself, and greets again", async () => {
    const wire = await connected();
    wire.broken(1001, "the worker is stopping");
    expect(told).toEqual(["ended"]);
    expect(connection.state.value).toEqual({
      kind: "waiting",
      why: "The worker was told to stop. (the worker is stopping)",
      retryAt: 1100,
    });
    timers.at(-1)?.run();
    await settled();
    wires.at(-1)?.opened();
    greet.with(HANDSHAKE);
    await settled();
    expect(connection.state.value.kind).toBe("open");
    expect(told).toEqual(["ended", "opening", "greeted"]);
  });

  it("lets go when nobody sees the page, and comes back to the same worker", async () => {
    const wire = await connected();
    connection.rest();
    expect(told).toEqual(["ended"]);
    expect(wire.readyState).toBe(3);
    expect(connection.state.value).toEqual({ kind: "resting", since: 1000 });
    time = 5000;
    connection.wake();
    await settled();
    expect(wires.at(-1)?.address).toBe("ws://h/__rbkit__/?server=7-a&frames=binary");
    expect(connection.absence.value).toBeNull();
    connection.rest();
    time = 25_000;
    connection.wake();
    expect(connection.absence.value).toEqual({ from: 5000, to: 25_000 });
    connection.wake(); // it does not rest: nothing to do
    await settled();
    expect(wires).toHaveLength(3);
  });

  it("rests from trying, too, but leaves a shut door alone", async () => {
    access = { kind: "unreachable", why: "no" };
    connection.connect();
    await settled();
    connection.rest();
    expect(connection.state.value.kind).toBe("resting");
    expect(stopped).toContain(timers.findIndex(({ ms }) => ms === 100) + 1);
    access = { kind: "locked" };
    connection.wake();
    await settled();
    connection.rest();
    expect(connection.state.value.kind).toBe("locked");
  });

  it("says what it waits for once that takes long", async () => {
    const why = () => (connection.state.value as { why?: string }).why;
    const late = () => timers.at(-1)?.run();
    let answer = (_: Access) => {};
    world.servers = () => new Promise((resolve) => (answer = resolve));
    connection.connect();
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
    expect(connection.state.value).toMatchObject({ kind: "connecting", why: expect.stringContaining("within 60 s") });
    answer(OPEN);
    await settled();
    wires.at(-1)!.opened();
    greet.with(HANDSHAKE);
    await settled();
    late();
    expect(connection.state.value).toEqual({ kind: "open" });
  });

  it("takes any worker when the one it watched is gone", async () => {
    const wire = await connected();
    access = { ...OPEN, servers: [{ ...OPEN.servers[0]!, id: "8-b" }] } as Access;
    wire.broken(1006);
    timers.at(-1)?.run();
    await settled();
    expect(wires.at(-1)?.address).toBe("ws://h/__rbkit__/?frames=binary");
    expect(connection.replaced.value).toBe("pid 7");
    connection.connect();
    expect(connection.replaced.value).toBeNull();
    // Loaded again with the name of one that has ended meanwhile.
    connection.connect("6-z");
    await settled();
    expect(connection.replaced.value).toBe("6-z");
  });

  it("stops at the door, and waits longer each time nobody answers", async () => {
    access = { kind: "locked" };
    connection.connect();
    await settled();
    expect(connection.state.value.kind).toBe("locked");
    access = { kind: "unreachable", why: "no" };
    connection.connect();
    await settled();
    timers.at(-1)?.run();
    await settled();
    expect(retries()).toEqual([100, 200]);
    expect(connection.send("handshake")).toBe(false);
  });

  it("does not try again where the web server cannot carry it", async () => {
    access = { ...OPEN, obstacle: "one thread only" } as Access;
    connection.connect();
    await settled();
    wires[0]?.broken(1006);
    expect(connection.state.value).toEqual({ kind: "impossible", why: "one thread only" });
    expect(retries()).toEqual([]);
    // What proves wrong is forgotten, and stays so.
    (await connected()).broken(1006);
    expect(connection.state.value.kind).toBe("waiting");
    timers.at(-1)?.run();
    await settled();
    wires.at(-1)?.broken(1006);
    expect(connection.state.value.kind).toBe("waiting");
  });

  it("refuses a server without a handshake", async () => {
    connection.connect();
    await settled();
    wires[0]?.opened();
    greet.with(null);
    await settled();
    expect(connection.state.value).toMatchObject({ kind: "waiting", why: expect.stringContaining("handshake") });
  });
});
