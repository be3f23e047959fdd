import { decode, isMap, number, type Packed, type RbkitEvent } from "./codec.ts";
import { EventType, Field } from "./constants.ts";

/** What one WebSocket message means. */
export type Incoming =
  | { kind: "answer"; bytes: Uint8Array }
  | { kind: "publication"; counter: number | null; events: readonly RbkitEvent[]; bytes: Uint8Array }
  | { kind: "clients"; count: number }
  | { kind: "dropped"; count: number }
  | { kind: "unknown"; why: string };

const ANSWER = 0x30;
const PUBLICATION = 0x31;

/** Reads a binary WebSocket message: one byte of channel, then the raw bytes. */
export function readBinary(data: ArrayBuffer): Incoming {
  const bytes = new Uint8Array(data);
  const body = bytes.subarray(1);
  if (bytes[0] === ANSWER) return { kind: "answer", bytes: body };
  if (bytes[0] !== PUBLICATION) return { kind: "unknown", why: `channel ${bytes[0] ?? "missing"}` };
  try {
    return readPublication(decode(body), body);
  } catch (error) {
    return { kind: "unknown", why: `not MessagePack: ${String(error)}` };
  }
}

/** Reads a text message, which is a notice and never an answer. */
export function readText(data: string): Incoming {
  const notice = /^0(client_count|dropped):(\d+)$/.exec(data);
  if (!notice) return { kind: "unknown", why: "a text message that is no notice" };
  return { kind: notice[1] === "dropped" ? "dropped" : "clients", count: Number(notice[2]) };
}

function readPublication(message: unknown, bytes: Uint8Array): Incoming {
  if (!isMap(message)) return { kind: "unknown", why: "a publication that is no map" };
  // Servers older than protocol 2.0 publish events one by one.
  const list = message[Field.type] === EventType.collection ? message[Field.payload] : [message];
  const events = Array.isArray(list) ? list.filter(isMap) : [];
  return { kind: "publication", counter: number(message[Field.counter]), events, bytes };
}

/** The answer to a command: `"ok"`, a map, or the bytes where they are neither. */
export type Answer = "ok" | Packed | Uint8Array;

export function readAnswer(bytes: Uint8Array): Answer {
  if (bytes.length === 2 && bytes[0] === 0x6f && bytes[1] === 0x6b) return "ok";
  try {
    const value = decode(bytes);
    return isMap(value) ? value : bytes;
  } catch {
    return bytes;
  }
}
