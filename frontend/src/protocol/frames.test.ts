import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { readAnswer, readBinary, readText } from "./frames.ts";

function frame(channel: string, value: unknown): ArrayBuffer {
  const packed = encode(value);
  const bytes = new Uint8Array(packed.length + 1);
  bytes[0] = channel.charCodeAt(0);
  bytes.set(packed, 1);
  return bytes.buffer;
}

describe("binary messages", () => {
  it("gives a publication's events and counter", () => {
    const message = frame("1", { 0: 7, 1: 6, 9: 41, 2: [{ 0: 2, 1: 5.5 }] });
    expect(readBinary(message)).toEqual({
      kind: "publication",
      counter: 41,
      events: [{ "0": 2, "1": 5.5 }],
      bytes: new Uint8Array(message, 1),
    });
  });

  it("takes an event of an old server for a publication of one", () => {
    const read = readBinary(frame("1", { 0: 6, 1: 6, 2: { count: 1 } }));
    expect(read).toMatchObject({ kind: "publication", counter: null, events: [{ "0": 6 }] });
  });

  it("survives what is no MessagePack and what has no channel", () => {
    expect(readBinary(new Uint8Array([0x31, 0xc1]).buffer).kind).toBe("unknown");
    expect(readBinary(new Uint8Array([0x39, 1]).buffer).kind).toBe("unknown");
    expect(readBinary(new ArrayBuffer(0)).kind).toBe("unknown");
  });

  it("refuses a key that would reach the prototype", () => {
    const bytes = new Uint8Array([0x81, 0xa9, ...new TextEncoder().encode("__proto__"), 0x81, 0xa1, 0x78, 1]);
    expect(readAnswer(bytes)).toBe(bytes);
  });
});

describe("answers", () => {
  it("tells ok, maps and bytes apart", () => {
    expect(readAnswer(new TextEncoder().encode("ok"))).toBe("ok");
    expect(readAnswer(encode({ cursor: 3 }))).toEqual({ cursor: 3 });
    expect(readAnswer(new Uint8Array([1]))).toEqual(new Uint8Array([1]));
  });
});

describe("text messages", () => {
  it("reads the two notices and nothing else", () => {
    expect(readText("0client_count:2")).toEqual({ kind: "clients", count: 2 });
    expect(readText("0dropped:17")).toEqual({ kind: "dropped", count: 17 });
    expect(readText("0dropped:x").kind).toBe("unknown");
    expect(readText("1client_count:2").kind).toBe("unknown");
  });
});
