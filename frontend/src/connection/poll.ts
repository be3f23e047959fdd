import type { Ms } from "../time.ts";
import { Disconnected } from "./commandqueue.ts";
import type { Link } from "./link.ts";

/** A command asked for again and again, one at a time, while the page is connected. */
export interface Poll {
  stop(): void;
}

/**
 * Calls `turn` now and then `period` after each one has ended, while connected; a turn that fails with anything but
 * Disconnected is told to `failed` and the next one comes nevertheless.
 */
export function poll(
  link: Link,
  period: () => Ms,
  turn: () => Promise<void>,
  failed: (error: Error) => void = () => {},
): Poll {
  let stopped = false;
  let timer: number | undefined;
  const run = async () => {
    if (stopped) return;
    if (link.connection.state.peek().kind === "open") {
      try {
        await turn();
      } catch (error) {
        if (!(error instanceof Disconnected)) failed(error as Error);
      }
    }
    if (!stopped) timer = window.setTimeout(run, period());
  };
  void run();
  return {
    stop() {
      stopped = true;
      window.clearTimeout(timer);
    },
  };
}
