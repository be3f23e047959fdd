/** Answers to `memory_profile` and `trace_objects`, checked once. */

import type { CensusFacts, MemoryProfileAnswer, TraceObjectsAnswer } from "../../../protocol/answers.ts";
import { isMap, number, text, type Unchecked, uncheckedMap } from "../../../protocol/codec.ts";
import { type EpochMs, fromMicroseconds, type Ms } from "../../../time.ts";

export interface GcCollection {
  readonly time: EpochMs;
  readonly generation: number;
  readonly took: Ms;
  readonly collected: number;
}

export interface Site {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly count: number;
}

export interface MemoryAnswer {
  readonly cursor: number;
  readonly time: EpochMs;
  /** What is counted of births and deaths is of so long; 0 where nothing is. */
  readonly span: Ms;
  /** Whether begin and end of objects are traced. */
  readonly running: boolean;
  readonly classes: readonly (readonly [string, number, number | null, number | null, number | null])[];
  readonly totalLive: number | null;
  /** How the census is made, in the server's words. */
  readonly census: {
    readonly method: string;
    readonly note: string;
    readonly took: Ms | null;
    readonly at: EpochMs | null;
  };
  readonly collections: readonly GcCollection[];
  readonly sites: readonly Site[];
  readonly gc: ReadonlyMap<string, number>;
}

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** @throws Error if it is no such answer. */
export function readMemory(answer: Unchecked<MemoryProfileAnswer>): MemoryAnswer {
  const cursor = number(answer.cursor);
  if (cursor === null || !Array.isArray(answer.classes))
    throw new Error("The answer to memory_profile cannot be read.");
  const names = list(answer.names).map((name) => text(name) ?? "(no name)");
  const named = (index: unknown): string => names[number(index) ?? -1] ?? "(no name)";
  const census: Unchecked<CensusFacts> = uncheckedMap<CensusFacts>(answer.census) ?? {};
  return {
    cursor,
    time: number(answer.timestamp) ?? Date.now(),
    span: fromMicroseconds(number(answer.span_us) ?? 0),
    running: answer.running === true,
    classes: list(answer.classes).flatMap((row) => {
      if (!Array.isArray(row)) return [];
      return [[named(row[0]), number(row[1]) ?? 0, number(row[2]), number(row[3]), number(row[4])] as const];
    }),
    totalLive: number(answer.total_live),
    census: {
      method: text(census.method) ?? "",
      note: text(census.note) ?? "",
      took: fromMicroseconds(number(census.took_us)),
      at: number(census.at_ms),
    },
    collections: list(answer.collections).flatMap((row) => {
      if (!Array.isArray(row)) return [];
      const time = number(row[0]);
      if (time === null) return [];
      return [
        {
          time,
          generation: number(row[1]) ?? 0,
          took: fromMicroseconds(number(row[2]) ?? 0),
          collected: number(row[3]) ?? 0,
        },
      ];
    }),
    sites: list(answer.sites).flatMap((row) => {
      if (!Array.isArray(row)) return [];
      return [{ name: named(row[0]), file: text(row[1]) ?? "", line: number(row[2]) ?? 0, count: number(row[3]) ?? 0 }];
    }),
    gc: readStats(answer.gc),
  };
}

/** The numbers of a `gc_stats` payload. */
export function readStats(payload: unknown): Map<string, number> {
  const found = new Map<string, number>();
  for (const [key, value] of Object.entries(isMap(payload) ? payload : {})) {
    const figure = number(value);
    if (figure !== null) found.set(key, figure);
  }
  return found;
}

export interface Tracing {
  readonly patterns: readonly string[];
  readonly mechanism: string;
  readonly complete: boolean;
  readonly note: string;
}

export function readTracing(answer: Unchecked<TraceObjectsAnswer>): Tracing {
  return {
    patterns: list(answer.patterns).map((pattern) => text(pattern) ?? ""),
    mechanism: text(answer.mechanism) ?? "",
    complete: answer.complete === true,
    note: text(answer.note) ?? "",
  };
}
