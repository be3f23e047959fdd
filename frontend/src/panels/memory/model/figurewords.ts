/** What the figures of a server mean: the same keys stand for other things in Python and in Ruby. */

import type { Handshake } from "../../../protocol/handshake.ts";

interface FigureWords {
  readonly title: string;
  /** What it is, in a few words. */
  readonly hint: string;
  /** Beside a line of a chart. */
  readonly line: string;
}

export interface MemoryWords {
  /** `total_memsize`. */
  readonly total: FigureWords;
  readonly heap: FigureWords;
  readonly blocks: FigureWords;
  readonly live: FigureWords;
  /** Its hint follows the number of collections. */
  readonly pause: FigureWords;
}

const PYTHON: MemoryWords = {
  total: { title: "Resident memory", hint: "What the system counts against the process", line: "resident" },
  heap: { title: "Heap", hint: "Without mapped files", line: "heap" },
  blocks: { title: "Heap blocks", hint: "", line: "allocated" },
  live: { title: "Live objects", hint: "At the last count", line: "live" },
  pause: { title: "Longest pause", hint: "", line: "longest pause" },
};

/** As the protocol has them, which is Ruby's way. What the system counts is not among them. */
const PROTOCOL: MemoryWords = {
  total: { title: "All objects", hint: "Their sizes added up; the process takes more", line: "all objects" },
  heap: { title: "Object slots", hint: "Used and free ones; what malloc gave is not in them", line: "slots" },
  blocks: { title: "Used slots", hint: "", line: "used" },
  live: { title: "Live objects", hint: "Seen being made and not seen dying", line: "live" },
  pause: { title: "Longest mark", hint: ", sweeping left out", line: "longest mark" },
};

/** The words for what this server tells. */
export function memoryWords(handshake: Handshake | null): MemoryWords {
  const figures = handshake?.language === "python" ? PYTHON : PROTOCOL;
  // Where live objects and pauses come from is not a matter of the language.
  const { live, pause } = handshake?.extensions.has("memory_profile") ? PYTHON : PROTOCOL;
  return { ...figures, live, pause };
}
