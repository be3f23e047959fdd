/** Takes a heap snapshot: pulls it in chunks where the server has that, else collects what is published. */

import { CommandError } from "../../connection/commandqueue.ts";
import type { Link } from "../../connection/link.ts";
import type { RemoteHeaps } from "../../heap/remote.ts";
import type { Summary } from "../../heap/service.ts";
import type { SnapshotAnswer } from "../../protocol/answers.ts";
import type { RbkitEvent, Unchecked } from "../../protocol/codec.ts";
import { number, text } from "../../protocol/codec.ts";
import { EventType, Field } from "../../protocol/constants.ts";

/** How far it is; `total` is null while nobody knows. */
export interface Progress {
  /** The server makes it; it is on its way; references are resolved. */
  readonly phase: "making" | "receiving" | "reading";
  readonly done: number;
  readonly total: number | null;
}

export interface Order {
  readonly link: Link;
  readonly heaps: RemoteHeaps;
  readonly name: string;
  readonly progress: (progress: Progress) => void;
  /** Ends it early. */
  readonly signal: AbortSignal;
}

const LOOK_AGAIN_MS = 150;
/** So many chunks are asked for before the first has come: the way there and back costs nothing then. */
const AHEAD = 4;
/** A dump whose parts stop coming for so long will not become whole. */
export const QUIET_MS = 3000;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** @throws CommandError, Disconnected, or an Error with words for people; what was received is forgotten then. */
export async function takeSnapshot(order: Order): Promise<Summary> {
  const key = await order.heaps.begin();
  try {
    return await (order.link.has("snapshot_start") ? pull(order, key) : collect(order, key));
  } catch (error) {
    await order.heaps.drop(key);
    throw error;
  }
}

/** Of which process a snapshot is, for people and to tell two apart. */
function originOf(link: Link): { origin: string; process: string } {
  const handshake = link.handshake.peek();
  if (!handshake) return { origin: "", process: "" };
  const origin = `${handshake.processName} (pid ${handshake.pid ?? "?"})`;
  return { origin, process: handshake.facts.get("server_id") ?? origin };
}

async function pull(order: Order, key: number): Promise<Summary> {
  const { link, heaps, name, progress, signal } = order;
  const facts = await factsOnceMade(order);
  const id = number(facts.id);
  const chunks = number(facts.chunks) ?? 0;
  const total = number(facts.objects) ?? 0;
  const origin = originOf(link);
  let next = 0;
  let received = 0;
  const lane = async () => {
    while (next < chunks) {
      signal.throwIfAborted();
      const bytes = await link.bytes(`snapshot_chunk ${id} ${next++}`);
      received = Math.max(received, await heaps.add(key, bytes));
      progress({ phase: "receiving", done: received, total });
    }
  };
  await Promise.all(Array.from({ length: AHEAD }, lane));
  progress({ phase: "reading", done: received, total });
  return heaps.finish(key, name, { time: number(facts.time) ?? Date.now(), ...origin, expected: total });
}

/** The facts of a snapshot once it is made. */
async function factsOnceMade({ link, progress, signal }: Order): Promise<Unchecked<SnapshotAnswer>> {
  let facts = await link.ask("snapshot_start");
  while (text(facts.state) === "running") {
    progress({ phase: "making", done: number(facts.objects_so_far) ?? 0, total: number(facts.objects_expected) });
    await pause(LOOK_AGAIN_MS);
    signal.throwIfAborted();
    facts = await link.ask("snapshot_status", number(facts.id) ?? 0);
  }
  if (text(facts.state) !== "done")
    throw new CommandError("failed", text(facts.message) ?? "The server gave no reason.");
  return facts;
}

/** A dump that is published: there is no telling that it is whole but by the number of objects announced. */
async function collect(order: Order, key: number): Promise<Summary> {
  const { link, heaps, name, progress, signal } = order;
  const origin = originOf(link);
  const dump = new PublishedDump();
  let received = 0;
  let adding: Promise<void> = Promise.resolve();
  let failure: Error | null = null;
  let heard = Date.now();
  const stop = link.onEvents((events, bytes) => {
    if (!dump.take(events)) return;
    heard = Date.now();
    const copy = bytes.slice(); // the bytes are shared with other listeners
    adding = adding
      .then(async () => {
        received = await heaps.add(key, copy);
        progress({ phase: "receiving", done: received, total: dump.total });
      })
      .catch((error: Error) => {
        failure = error;
      });
  });
  try {
    progress({ phase: "making", done: 0, total: null });
    await link.command("objectspace_snapshot");
    heard = Date.now();
    while (!(dump.total !== null && received >= dump.total) && Date.now() - heard < QUIET_MS) {
      await pause(50);
      signal.throwIfAborted();
      if (!link.open) throw new Error("The connection ended before the snapshot was whole.");
      if (failure) throw failure;
    }
    await adding;
  } finally {
    stop();
  }
  if (!received) throw new Error("The server published no object of a snapshot.");
  progress({ phase: "reading", done: received, total: dump.total });
  return heaps.finish(key, name, { time: dump.time ?? Date.now(), ...origin, expected: dump.total ?? received });
}

/** Tells the messages of one dump from all others. */
export class PublishedDump {
  /** Objects announced; null for servers that do not. */
  total: number | null = null;
  time: number | null = null;
  #correlation: number | null = null;

  /** Whether the events belong to the dump: to the first seen. */
  take(events: readonly RbkitEvent[]): boolean {
    let ours = false;
    for (const event of events) {
      if (event[Field.type] !== EventType.objectSpaceDump) continue;
      const correlation = number(event[Field.correlation]);
      this.#correlation ??= correlation;
      if (correlation !== this.#correlation) continue;
      this.total ??= number(event[Field.total]);
      this.time ??= number(event[Field.timestamp]);
      ours = true;
    }
    return ours;
  }
}
