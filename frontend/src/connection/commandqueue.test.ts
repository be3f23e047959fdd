import { encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, it } from "vitest";
import { CommandError, CommandQueue, Disconnected } from "./commandqueue.ts";

let connected: boolean;
let sent: string[];
let commands: CommandQueue;

const answer = (value: unknown) =>
  commands.answered(value === "ok" ? new TextEncoder().encode("ok") : (encode(value) as Uint8Array));

beforeEach(() => {
  connected = true;
  sent = [];
  commands = new CommandQueue((command) => {
    if (connected) sent.push(command);
    return connected;
  });
});

describe("the queue of commands", () => {
  it("pairs answers with commands in their order", async () => {
    const one = commands.command("trigger_gc");
    const two = commands.ask("stacks");
    const three = commands.bytes("snapshot_chunk 1 0");
    expect(sent).toEqual(["trigger_gc", "stacks", "snapshot_chunk 1 0"]);
    answer("ok");
    answer({ pid: 7 });
    commands.answered(Uint8Array.of(1, 2));
    expect(await one).toBe("ok");
    expect(await two).toEqual({ pid: 7 });
    expect(await three).toEqual(Uint8Array.of(1, 2));
  });

  it("turns a server's error into one, and an ok to our own command too", async () => {
    const refused = commands.ask("stacks");
    answer({ error: "refused", message: "not now" });
    await expect(refused).rejects.toThrow("not now");
    const unknown = commands.ask("memory_profile", 7);
    answer("ok");
    await expect(unknown).rejects.toEqual(
      new CommandError("unknown_command", "This server does not know memory_profile."),
    );
    expect(sent.at(-1)).toBe("memory_profile 7");
  });

  it("gives a refusal as it came to whoever decodes it", async () => {
    const refusal = encode({ error: "refused" }) as Uint8Array;
    const asked = commands.bytes("snapshot_chunk 1 0");
    commands.answered(refusal);
    expect(await asked).toBe(refusal);
  });

  it("fails what waits when the connection ends, and what is asked without one", async () => {
    const asked = [commands.command("trigger_gc"), commands.bytes("snapshot_chunk 1 0")];
    commands.abandon();
    for (const one of asked) await expect(one).rejects.toBeInstanceOf(Disconnected);
    connected = false;
    await expect(commands.command("handshake")).rejects.toBeInstanceOf(Disconnected);
    // The next connection's first answer is the next command's.
    connected = true;
    const next = commands.command("handshake");
    answer("ok");
    expect(await next).toBe("ok");
  });

  it("takes an answer to nothing for nothing", () => {
    answer("ok");
    expect(sent).toEqual([]);
  });
});
