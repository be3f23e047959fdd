import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { RbkitEvent } from "../protocol/codec.ts";

/** What is called with the events of each publication, and with its bytes. */
export type PublicationListener = (events: readonly RbkitEvent[], bytes: Uint8Array) => void;

/** What a server publishes: handed out to whoever listens, and counted, so that losses are known. */
export class Publications {
  /** Publications lost on their way here since the connection was opened. */
  readonly lost: ReadonlySignal<number>;
  readonly #gaps = signal(0);
  readonly #dropped = signal(0);
  readonly #listeners = new Set<PublicationListener>();
  #counter: number | null = null;

  constructor() {
    // A gap counts what the notice tells as well, so they are not added up.
    this.lost = computed(() => Math.max(this.#gaps.value, this.#dropped.value));
  }

  /** Returns what ends it. */
  listen(listener: PublicationListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A publication with its number; null where the server does not number them. */
  take(counter: number | null, events: readonly RbkitEvent[], bytes: Uint8Array): void {
    this.#count(counter);
    for (const listener of [...this.#listeners]) listener(events, bytes);
  }

  /** The server's word: so many were dropped since the connection was opened. */
  dropped(count: number): void {
    this.#dropped.value = count;
  }

  /** Another connection, whose numbers have nothing to do with those before. */
  renumber(): void {
    this.#counter = null;
  }

  /** Nothing has been lost yet. */
  forgive(): void {
    this.#gaps.value = 0;
    this.#dropped.value = 0;
  }

  #count(counter: number | null): void {
    if (counter === null) return;
    // A counter that goes back is a server that began anew, and no loss.
    if (this.#counter !== null && counter > this.#counter + 1) this.#gaps.value += counter - this.#counter - 1;
    this.#counter = counter;
  }
}
