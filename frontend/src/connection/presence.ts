/** A page that nobody sees is no client: it would keep sampling on for ever. */

import type { Connection } from "./connection.ts";

/** A page in a hidden tab gathers for so long; whoever wants more records it (docs/dashboard.rst). */
export const UNSEEN_MS = 15 * 60_000;

type PageWindow = Pick<globalThis.Window, "addEventListener" | "setTimeout" | "clearTimeout">;
type PageDocument = Pick<globalThis.Document, "addEventListener" | "visibilityState">;

/**
 * Has the connection rest while its page is kept for the way back (browsers keep the socket of such a page open), is frozen,
 * or has been hidden for UNSEEN_MS; and wakes it as soon as the page is seen again.
 */
export function followPresence(
  connection: Pick<Connection, "rest" | "wake">,
  window: PageWindow,
  document: PageDocument,
): void {
  let timer: number | undefined;
  const rest = () => connection.rest();
  const look = () => {
    window.clearTimeout(timer);
    if (document.visibilityState === "visible") connection.wake();
    else timer = window.setTimeout(rest, UNSEEN_MS);
  };
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", look);
  document.addEventListener("freeze", rest);
  document.addEventListener("resume", look);
  document.addEventListener("visibilitychange", look);
  look();
}
