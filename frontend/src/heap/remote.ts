/** The HeapService of a worker, asked from the page. */

import type { HeapService } from "./service.ts";

type Methods = { [K in keyof HeapService]: HeapService[K] };
/** The same methods, their answers as promises. */
export type RemoteHeaps = {
  [K in keyof Methods]: (...args: Parameters<Methods[K]>) => Promise<Awaited<ReturnType<Methods[K]>>>;
};

/** What a Worker does of which this module makes use. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

const CALLS: readonly (keyof HeapService)[] = [
  "begin",
  "add",
  "finish",
  "open",
  "save",
  "rename",
  "drop",
  "classes",
  "sites",
  "objects",
  "neighbours",
  "path",
  "dominatorsOf",
  "retain",
  "diff",
  "changed",
];

/** Starts the worker with the first question. */
export function remoteHeaps(start: () => Port): RemoteHeaps {
  const waiting = new Map<number, PendingCall>();
  let port: Port | null = null;
  let last = 0;
  const open = (): Port => {
    const opened = start();
    opened.onmessage = ({ data }) => {
      const asked = waiting.get(data.id);
      waiting.delete(data.id);
      if (typeof data.error === "string") asked?.reject(new Error(data.error));
      else asked?.resolve(data.result);
    };
    // It could not be loaded, or ran out of memory.
    opened.onerror = (event) => {
      const error = new Error(`The worker that holds the snapshots failed: ${event.message || "it cannot be loaded"}`);
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    return opened;
  };
  const ask =
    (call: keyof HeapService) =>
    (...args: unknown[]): Promise<unknown> => {
      port ??= open();
      const opened = port;
      // Messages of the server are given away: copying a hundred megabytes would be felt.
      const transfer = args.filter((arg) => arg instanceof Uint8Array).map((arg) => arg.buffer as ArrayBuffer);
      return new Promise((resolve, reject) => {
        waiting.set(++last, { resolve, reject });
        opened.postMessage({ id: last, call, args }, transfer);
      });
    };
  return Object.fromEntries(CALLS.map((call) => [call, ask(call)])) as unknown as RemoteHeaps;
}
