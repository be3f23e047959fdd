/** Fills the memory store from the connected server, by whichever means that server has. */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Link } from "../../connection/link.ts";
import { poll } from "../../connection/poll.ts";
import { readMemory, readTracing, type Tracing } from "./model/decode.ts";
import { type MemoryWords, memoryWords } from "./model/figurewords.ts";
import { MemoryStore } from "./store.ts";

const PERIOD_MS = 2000;

/** Where the figures come from: our own command, or the events every Rbkit server publishes. */
export type Source = "profile" | "events";

export class MemoryFeed {
  readonly store = new MemoryStore();
  readonly source: ReadonlySignal<Source>;
  /** What the figures mean that this server tells. */
  readonly words: ReadonlySignal<MemoryWords>;
  /** Whether figures are being gathered. */
  readonly watching = signal(false);
  /** What the server said when it could not do as asked; empty when all is well. */
  readonly problem = signal("");
  readonly tracing: Signal<Tracing | null> = signal(null);
  #cursor: number | null = null;
  #process = "";
  /** The user has stopped it: a reconnect does not start it again. */
  #paused = false;

  constructor(readonly link: Link) {
    this.words = computed(() => memoryWords(link.handshake.value));
    this.source = computed(() => (link.has("memory_profile") ? "profile" : "events"));
    link.onConnect((handshake) => {
      const process = `${handshake.pid} ${handshake.facts.get("server_id") ?? ""}`;
      if (this.#process && this.#process !== process) this.store.clear();
      this.#process = process;
      this.#cursor = null;
      this.problem.value = "";
      this.tracing.value = null;
      if (handshake.objectTrace && !this.#paused) this.watching.value = true;
      else if (this.watching.peek()) void this.start();
    });
    link.onEvents((events) => this.store.events(events, this.source.peek() === "events"));
    poll(
      link,
      () => PERIOD_MS,
      () => this.#turn(),
      (error) => {
        this.problem.value = error.message;
      },
    );
  }

  async #turn(): Promise<void> {
    if (!this.watching.peek()) return;
    if (this.source.peek() === "events") {
      this.store.turn(Date.now());
      return;
    }
    const since = this.#cursor === null ? [] : [this.#cursor];
    const answer = readMemory(await this.link.ask("memory_profile", ...since));
    this.#cursor = answer.cursor;
    this.store.take(answer);
    this.problem.value = "";
  }

  /** Begins to gather; where events are all there is, switches them on for every client. */
  async start(): Promise<void> {
    this.#paused = false;
    // Called after a reconnect as well, and then it goes on.
    if (!this.watching.peek()) this.store.begin();
    this.watching.value = true;
    if (this.source.peek() === "events") await this.#switch("start_memory_profile");
  }

  async stop(): Promise<void> {
    this.#paused = true;
    this.watching.value = false;
    this.#cursor = null;
    if (this.source.peek() === "events") await this.#switch("stop_memory_profile");
  }

  /** Has births and deaths traced or not, for every client. */
  async traceAll(on: boolean): Promise<void> {
    await this.#switch(on ? "start_memory_profile" : "stop_memory_profile");
  }

  async #switch(command: string): Promise<void> {
    try {
      await this.link.command(command);
      await this.link.refreshHandshake();
    } catch (error) {
      this.problem.value = (error as Error).message;
    }
  }

  /** Traces the objects of classes like `app.models.*`; an empty text traces none. */
  async trace(patterns: string): Promise<void> {
    const words = patterns.split(/[\s,]+/).filter(Boolean);
    try {
      this.tracing.value = readTracing(await this.link.ask("trace_objects", ...words));
      this.problem.value = "";
    } catch (error) {
      this.problem.value = (error as Error).message;
    }
  }
}
