/** What the tests of a connection and of a link stand on: a WebSocket at the test's hand, and an open door. */

import { encode } from "@msgpack/msgpack";
import type { Access } from "./http.ts";

/** A WebSocket at the test's hand; only what Connection and Link use. */
export class Wire {
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

export const OPEN: Extract<Access, { kind: "open" }> = {
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

/** Everything that was due has run. */
export const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
