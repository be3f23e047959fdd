/** A snapshot by class, and the objects of a class by where they were made. */

import type { Heap } from "./heap.ts";

/** One class of a snapshot. */
export interface ClassRow {
  /** Index into the heap's classes. */
  readonly number: number;
  readonly name: string;
  readonly count: number;
  /** Bytes of all its objects. */
  readonly size: number;
  /** References that its objects hold. */
  readonly references: number;
  /** Bytes that would be freed with them; null until dominators are computed. */
  readonly retained: number | null;
  /** Where the class is written; an empty file when that is not known. */
  readonly file: string;
  readonly line: number;
}

export function histogram(heap: Heap, retained: Float64Array | null = null): ClassRow[] {
  const classes = heap.classes.length;
  const count = new Uint32Array(classes);
  const size = new Float64Array(classes);
  const references = new Float64Array(classes);
  for (let i = 0; i < heap.count; i++) {
    const number = heap.classOf[i]!;
    count[number]!++;
    size[number]! += heap.sizes[i]!;
    references[number]! += heap.refStart[i + 1]! - heap.refStart[i]!;
  }
  return heap.classes.map((name, number) => ({
    number,
    name,
    count: count[number]!,
    size: size[number]!,
    references: references[number]!,
    retained: retained ? retained[number]! : null,
    ...heap.places[number]!,
  }));
}

/** Objects of one class with the same file and line. */
export interface SiteRow {
  /** Index into the heap's files; 0 when the place is not known. */
  readonly fileNumber: number;
  readonly file: string;
  readonly line: number;
  readonly count: number;
  readonly size: number;
}

/** The objects of a class by file and line, the most numerous first. */
export function sites(heap: Heap, number: number): SiteRow[] {
  const found = new Map<number, { count: number; size: number }>();
  for (let i = 0; i < heap.count; i++) {
    if (heap.classOf[i] !== number) continue;
    const key = siteKey(heap, i);
    const site = found.get(key);
    if (site) {
      site.count++;
      site.size += heap.sizes[i]!;
    } else found.set(key, { count: 1, size: heap.sizes[i]! });
  }
  return [...found]
    .map(([key, site]) => {
      const fileNumber = Math.floor(key / 0x100000000);
      return { fileNumber, file: heap.files[fileNumber]!, line: key % 0x100000000, ...site };
    })
    .sort((a, b) => b.count - a.count);
}

function siteKey(heap: Heap, object: number): number {
  return heap.fileOf[object]! * 0x100000000 + heap.lines[object]!;
}
