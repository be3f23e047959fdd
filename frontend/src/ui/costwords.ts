/** What it costs the application to be watched, in words, as far as its server tells. */

import type { Handshake } from "../protocol/handshake.ts";
import { duration } from "./format.ts";

/** How long what is switched on goes on when everybody has left: the end of a sentence. */
export function lingering(handshake: Handshake | null): string {
  const linger = handshake?.linger ?? null;
  if (linger === null) return "goes on until somebody switches it off, even when this page is closed";
  return `ends by itself ${duration(linger)} after the last one who watches has left`;
}

/**
 * What a snapshot costs, before one is taken.
 *
 * @param handshake the server's; its `heap_snapshot` says how snapshots are made there, with a reason behind a colon.
 */
export function costOf(handshake: Handshake | null): string {
  if (!handshake) return "";
  const [method = "", why = ""] = (handshake.facts.get("heap_snapshot") ?? "").split(/:\s*(.*)/s);
  // What is in brackets is for whoever installed it: the Process panel has it in full.
  const because = why ? ` (${why.replace(/ \(.*/s, "")})` : "";
  switch (method) {
    case "fork":
      return "A forked child walks the heap: the application stops for the fork alone, some 20 ms a gigabyte. The child needs memory for what changes meanwhile.";
    case "in-process":
      return `The application stands still while its heap is walked, up to 300 ms a million objects${because}.`;
    case "python":
      return `The heap is walked in Python in slices of a millisecond: the application goes on, slower, for some seconds per million objects, and its objects are kept until it is done${because}.`;
    default:
      return "The server walks its whole heap and publishes it to every client. It does not tell how long the application stands still for that: seconds, if the heap is large.";
  }
}
