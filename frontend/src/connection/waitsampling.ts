import { type Signal, signal } from "@preact/signals";
import type { Link } from "./link.ts";

/**
 * This page's wish that the server samples waiting requests. It is one for all panels, or one would undo it for another;
 * and it is made again when the connection comes back, since a server forgets wishes with their connection.
 */
export class WaitSampling {
  readonly wanted = signal(false);
  /** Whether they are sampled; null before the server has said so. */
  readonly active: Signal<boolean | null> = signal(null);

  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
    link.onConnect(() => {
      this.active.value = null;
      if (this.wanted.peek() && link.has("wait_profile")) void this.set(true).catch(() => {});
    });
  }

  /** @throws what Link.ask throws. */
  async set(on: boolean): Promise<void> {
    this.wanted.value = on;
    const answer = await this.#link.ask("wait_profile", on ? "on" : "off");
    this.active.value = answer.active === true;
  }
}

const wishes = new WeakMap<Link, WaitSampling>();

export function waitSamplingOf(link: Link): WaitSampling {
  const wish = wishes.get(link) ?? new WaitSampling(link);
  wishes.set(link, wish);
  return wish;
}
