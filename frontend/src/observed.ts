import { type Signal, signal } from "@preact/signals";

/** Data as views get them: there is no way to them but through a signal, so none that draws what it has forgotten to follow. */
export interface ReadonlyObserved<T> {
  /** The data; whoever reads them here is drawn, computed or run anew with each change. */
  readonly value: T;
  /** The same without being followed: for handlers, and for what keeps the data. */
  peek(): T;
}

/**
 * Data that change in place, since they are too large to be copied with each change.
 *
 * What is read from `value` must not be kept: a component that is handed a part of it follows nothing.
 */
export class Observed<T extends object> implements ReadonlyObserved<T> {
  // A new holder with each change: a signal tells of nothing that is the same as before.
  readonly #holder: Signal<{ readonly data: T }>;

  constructor(data: T) {
    this.#holder = signal({ data });
  }

  get value(): T {
    return this.#holder.value.data;
  }

  peek(): T {
    return this.#holder.peek().data;
  }

  /** Changes the data; what follows them is told once, unless `work` returns false: then nothing has changed. */
  change(work: (data: T) => unknown): void {
    const data = this.peek();
    if (work(data) !== false) this.#holder.value = { data };
  }

  /** Puts others in their place. */
  replace(data: T): void {
    this.#holder.value = { data };
  }
}
