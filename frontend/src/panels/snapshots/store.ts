/** The snapshots that this page keeps, which of them is looked at, and what is under way. */

import { type Signal, signal } from "@preact/signals";
import type { Link } from "../../connection/link.ts";
import { type RemoteHeaps, remoteHeaps } from "../../heap/remote.ts";
import type { Summary } from "../../heap/service.ts";
import { type Progress, takeSnapshot } from "./take.ts";

/** One step of what is looked at; the steps before it are the way back. */
export type TrailStep =
  | { readonly kind: "classes"; readonly key: number }
  | { readonly kind: "objects"; readonly key: number }
  | { readonly kind: "class"; readonly key: number; readonly number: number; readonly name: string }
  | { readonly kind: "object"; readonly key: number; readonly index: number; readonly title: string }
  | { readonly kind: "diff"; readonly before: number; readonly after: number }
  | {
      readonly kind: "changed";
      readonly before: number;
      readonly after: number;
      readonly change: "created" | "grown" | "gone";
      readonly name: string;
    };

export type TrailStepOf<Kind extends TrailStep["kind"]> = Extract<TrailStep, { kind: Kind }>;

export class SnapshotStore {
  readonly heaps: RemoteHeaps;
  /** In the order in which they were taken or opened. */
  readonly list: Signal<readonly Summary[]> = signal([]);
  readonly progress: Signal<Progress | null> = signal(null);
  /** What went wrong last; empty when nothing did. */
  readonly problem = signal("");
  /** What is done with a snapshot now, in words; empty for nothing. */
  readonly busy = signal("");
  readonly trail: Signal<readonly TrailStep[]> = signal([]);
  #abort: AbortController | null = null;
  #taken = 0;

  constructor(
    readonly link: Link,
    heaps?: RemoteHeaps,
  ) {
    this.heaps = heaps ?? remoteHeaps(() => new Worker("heap.js", { type: "module" }));
  }

  find(key: number): Summary | undefined {
    return this.list.value.find((summary) => summary.key === key);
  }

  async take(): Promise<void> {
    if (this.progress.peek()) return;
    this.problem.value = "";
    this.progress.value = { phase: "making", done: 0, total: null };
    this.#abort = new AbortController();
    const number = ++this.#taken;
    try {
      const summary = await takeSnapshot({
        link: this.link,
        heaps: this.heaps,
        name: `Snapshot ${number}`,
        progress: (progress) => {
          this.progress.value = progress;
        },
        signal: this.#abort.signal,
      });
      this.#added(summary);
    } catch (error) {
      this.#taken--;
      if (!this.#abort.signal.aborted) this.problem.value = `No snapshot: ${(error as Error).message}`;
    } finally {
      this.#abort = null;
      this.progress.value = null;
    }
  }

  cancel(): void {
    this.#abort?.abort();
  }

  #added(summary: Summary): void {
    this.list.value = [...this.list.value, summary];
    this.show({ kind: "classes", key: summary.key });
  }

  /** Opens a file; one that is no snapshot leaves everything as it is. */
  async open(file: Blob): Promise<void> {
    await this.#doing("Reading the file", async () => this.#added(await this.heaps.open(file)));
  }

  /** The file of a snapshot; null if it could not be made. */
  async save(key: number): Promise<Blob | null> {
    let file: Blob | null = null;
    await this.#doing("Writing the file", async () => {
      file = await this.heaps.save(key);
    });
    return file;
  }

  async rename(key: number, name: string): Promise<void> {
    await this.#doing("", async () => this.#replaced(await this.heaps.rename(key, name.trim() || "Snapshot")));
  }

  /** Computes retained sizes. */
  async retain(key: number): Promise<void> {
    await this.#doing("Finding out what each object keeps alive", async () =>
      this.#replaced(await this.heaps.retain(key)),
    );
  }

  async drop(key: number): Promise<void> {
    this.list.value = this.list.value.filter((summary) => summary.key !== key);
    this.trail.value = this.trail.value.filter((place) => !keysOf(place).includes(key));
    if (!this.trail.value.length && this.list.value.length) {
      this.show({ kind: "classes", key: this.list.value.at(-1)!.key });
    }
    await this.#doing("", () => this.heaps.drop(key));
  }

  #replaced(summary: Summary): void {
    this.list.value = this.list.value.map((old) => (old.key === summary.key ? summary : old));
  }

  async #doing(what: string, work: () => Promise<unknown>): Promise<void> {
    this.problem.value = "";
    this.busy.value = what;
    try {
      await work();
    } catch (error) {
      this.problem.value = (error as Error).message;
    } finally {
      this.busy.value = "";
    }
  }

  /** Looks at something anew. */
  show(place: TrailStep): void {
    this.trail.value = [place];
  }

  /** Goes on from what is looked at. */
  enter(place: TrailStep): void {
    this.trail.value = [...this.trail.value.slice(-30), place];
  }

  /** Back to a step of the trail. */
  back(step: number): void {
    this.trail.value = this.trail.value.slice(0, step + 1);
  }
}

export function keysOf(place: TrailStep): number[] {
  return "key" in place ? [place.key] : [place.before, place.after];
}
