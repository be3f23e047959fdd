/** Delays between attempts to connect: doubling, with jitter so that many pages do not come back at once. */
export class Backoff {
  #attempt = 0;

  constructor(
    readonly firstMs = 500,
    readonly longestMs = 15_000,
    readonly random: () => number = Math.random,
  ) {}

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const full = Math.min(this.longestMs, this.firstMs * 2 ** this.#attempt++);
    return full / 2 + (full / 2) * this.random();
  }

  reset(): void {
    this.#attempt = 0;
  }
}
