import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { Disconnected } from "../../connection/commandqueue.ts";
import type { Link } from "../../connection/link.ts";
import type { PublicationListener } from "../../connection/publications.ts";
import { objectsIn } from "../../heap/messages.ts";
import { type Port, type RemoteHeaps, remoteHeaps } from "../../heap/remote.ts";
import { HeapService } from "../../heap/service.ts";
import { decode, type RbkitEvent } from "../../protocol/codec.ts";
import { readHandshake } from "../../protocol/handshake.ts";
import { costOf, lingering } from "../../ui/costwords.ts";
import { lossOf } from "./loss.ts";
import { SnapshotStore } from "./store.ts";
import { PublishedDump, takeSnapshot } from "./take.ts";

/** The worker's side of the service in this thread. */
function heaps(): RemoteHeaps {
  const service = new HeapService(objectsIn);
  const port: Port = {
    onmessage: null,
    onerror: null,
    postMessage(message: unknown) {
      const { id, call, args } = message as { id: number; call: keyof HeapService; args: unknown[] };
      const reply = (data: object) => port.onmessage?.({ data: { id, ...data } } as MessageEvent);
      Promise.resolve()
        .then(() => (service[call] as (...args: unknown[]) => unknown).apply(service, args))
        .then(
          (result) => reply({ result }),
          (error: Error) => reply({ error: error.message }),
        );
    },
  };
  return remoteHeaps(() => port);
}

const object = (id: number) => ({ 3: id, 4: "A", 5: id > 1 ? [id - 1] : [], 8: 10 });
const dump = (ids: number[], correlation: number, total: number) => ({
  0: 7,
  9: 1,
  2: [{ 0: 5, 1: 5e11, 10: correlation, 11: total, 2: ids.map(object) }],
});

/** A connection at the test's hand: what it answers, and what it publishes when asked for a snapshot. */
function link(answers: { [command: string]: unknown }, published: object[] = []): Link {
  let listener: PublicationListener | null = null;
  const answer = async (command: string): Promise<unknown> => {
    if (command === "objectspace_snapshot") {
      for (const message of published) {
        const bytes = encode(message);
        listener?.((decode(bytes) as { 2: RbkitEvent[] })[2], bytes);
      }
      return "ok";
    }
    const found = answers[command];
    if (Array.isArray(found)) return found.length > 1 ? found.shift() : found[0];
    if (found === undefined) throw new Disconnected();
    return found;
  };
  return {
    open: true,
    has: (name: string) => name in answers,
    handshake: { peek: () => null },
    command: answer,
    ask: (...words: unknown[]) => answer(words.join(" ")),
    bytes: async (command: string) => encode(await answer(command)),
    onEvents(heard: PublicationListener) {
      listener = heard;
      return () => {
        listener = null;
      };
    },
  } as unknown as Link;
}

const order = (link: Link, seen: string[] = []) => ({
  link,
  heaps: heaps(),
  name: "one",
  progress: ({ phase, done, total }: { phase: string; done: number; total: number | null }) => {
    seen.push(`${phase} ${done}/${total}`);
  },
  signal: new AbortController().signal,
});

describe("pulling", () => {
  const facts = { id: 4, state: "done", objects: 5, chunks: 3, time: 6e11 };
  const answers = () => ({
    snapshot_start: { id: 4, state: "running", objects_so_far: 0, objects_expected: null },
    "snapshot_status 4": [{ id: 4, state: "running", objects_so_far: 2, objects_expected: 4 }, facts],
    "snapshot_chunk 4 0": { objects: [1, 2].map(object) },
    "snapshot_chunk 4 1": { objects: [3, 4].map(object) },
    "snapshot_chunk 4 2": { objects: [5].map(object) },
  });

  it("waits until it is made and takes every chunk, with progress", async () => {
    const seen: string[] = [];
    const summary = await takeSnapshot(order(link(answers()), seen));
    expect(summary).toMatchObject({ count: 5, references: 4, facts: { expected: 5, time: 6e11 } });
    expect(seen).toContain("making 2/4");
    expect(seen.at(-1)).toBe("reading 5/5");
  });

  it("says why the server could not, and keeps nothing", async () => {
    const failed = { ...answers(), "snapshot_status 4": { id: 4, state: "failed", message: "no room" } };
    await expect(takeSnapshot(order(link(failed)))).rejects.toThrow("no room");
    const refused = { ...answers(), "snapshot_chunk 4 1": { error: "unknown_snapshot", message: "it is gone" } };
    await expect(takeSnapshot(order(link(refused)))).rejects.toThrow("it is gone");
  });

  it("ends when the connection does", async () => {
    const { "snapshot_chunk 4 2": _, ...rest } = answers();
    await expect(takeSnapshot(order(link(rest)))).rejects.toThrow(Disconnected);
  });
});

describe("collecting what is published", () => {
  it("is whole when all that was announced is there, other clients' dumps aside", async () => {
    const messages = [dump([1, 2], 7, 3), dump([90, 91], 8, 2), dump([3], 7, 3)];
    const summary = await takeSnapshot(order(link({}, messages)));
    expect(summary).toMatchObject({ count: 3, facts: { expected: 3, time: 5e11 } });
  });

  it("ends with what came when the rest does not", async () => {
    const summary = await takeSnapshot(order(link({}, [dump([1, 2], 7, 5)])));
    expect(lossOf(summary.facts.expected, summary.count)).toContain("3 of 5 objects did not arrive");
    expect(lossOf(5, 5)).toBe("");
  }, 10_000);

  it("takes a dump of the oldest servers, which announce nothing", () => {
    const found = new PublishedDump();
    expect(found.take([{ 0: 6, 1: 1, 2: {} }])).toBe(false);
    expect(found.take([{ 0: 5, 1: 9, 2: [] }])).toBe(true);
    expect([found.total, found.time]).toEqual([null, 9]);
  });
});

describe("the store", () => {
  const store = () => new SnapshotStore(link({}, [dump([1, 2, 3], 1, 3)]), heaps());

  it("keeps, names and drops snapshots, and leads back to one that is there", async () => {
    const kept = store();
    await kept.take();
    await kept.take();
    expect(kept.list.value.map((one) => one.name.split(",")[0])).toEqual(["Snapshot 1", "Snapshot 2"]);
    const [first, second] = kept.list.value.map((one) => one.key);
    await kept.rename(first!, "  calm ");
    expect(kept.find(first!)?.name).toBe("calm");
    kept.show({ kind: "diff", before: first!, after: second! });
    await kept.drop(second!);
    expect(kept.trail.value).toEqual([{ kind: "classes", key: first }]);
  });

  it("tells of a file that is none, and of nothing that was published", async () => {
    const kept = store();
    await kept.open(new Blob(["x"]));
    expect(kept.problem.value).toContain("not a heap snapshot");
    expect([kept.list.value.length, kept.busy.value]).toEqual([0, ""]);
  });
});

describe("what it costs", () => {
  const words = (method: string) => costOf(readHandshake({ 0: 8, 2: { heap_snapshot: method } }));
  it("is said for each way", () => {
    expect(words("fork")).toContain("20 ms a gigabyte");
    expect(words("in-process: snapshot_fork is off")).toContain("300 ms a million objects (snapshot_fork is off).");
    expect(words("python: no extension module (cannot import x)")).toContain("(no extension module).");
    expect(words("")).toContain("does not tell how long the application stands still");
    expect(costOf(null)).toBe("");
  });

  it("ends by itself only where the server says so", () => {
    const words = (payload: object) => lingering(readHandshake({ 0: 8, 2: payload }));
    expect(words({ linger: "10" })).toBe("ends by itself 10.0 s after the last one who watches has left");
    expect(words({ linger: "soon" })).toContain("goes on until somebody switches it off");
    expect(words({})).toContain("goes on until somebody switches it off");
    expect(lingering(null)).toContain("goes on until");
  });
});
