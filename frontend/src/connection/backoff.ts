import type { Ms } from "../time.ts";

/** Delays between attempts to connect: doubling, with jitter so that many pages do not come back at once. */
export class Backoff {
  #attempt = 0;

  constructor(
    readonly first: Ms = 500,
    readonly longest: Ms = 15_000,
    readonly random: () => number = Math.random,
  ) {}

  /** How long to wait before the next attempt. */
  next(): Ms {
    const full = Math.min(this.longest, this.first * 2 ** this.#attempt++);
    return full / 2 + (full / 2) * this.random();
  }

  reset(): void {
    this.#attempt = 0;
  }
}
