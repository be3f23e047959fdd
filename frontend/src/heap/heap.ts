/** One heap snapshot in typed arrays, about 60 bytes an object where JavaScript objects would take 500. */

/** Objects by index 0..count-1. Names and files are hostile: whoever shows them shows text. */
export interface Heap {
  readonly count: number;
  /** Ids (addresses) by object. */
  readonly ids: Float64Array<ArrayBuffer>;
  /** Index into `classes` by object. */
  readonly classOf: Uint32Array<ArrayBuffer>;
  /** Bytes by object; 0 where the server does not know. */
  readonly sizes: Float64Array<ArrayBuffer>;
  /** Index into `files` by object; 0 is "not known". */
  readonly fileOf: Uint32Array<ArrayBuffer>;
  /** Line in that file by object; 0 is "not known". */
  readonly lines: Uint32Array<ArrayBuffer>;
  /** References of object i: `refs[refStart[i]]` up to, but without, `refs[refStart[i + 1]]`. */
  readonly refStart: Uint32Array<ArrayBuffer>;
  readonly refs: Uint32Array<ArrayBuffer>;
  readonly classes: readonly string[];
  /** Where each class is written, as far as known. */
  readonly places: readonly SourcePlace[];
  readonly files: readonly string[];
  readonly facts: HeapFacts;
}

export interface SourcePlace {
  readonly file: string;
  readonly line: number;
}

/** What is told about a snapshot beside its objects. */
export interface HeapFacts {
  /** Milliseconds since the epoch, when it was taken. */
  readonly time: number;
  /** Of which process, for people. */
  readonly origin: string;
  /** The same for two snapshots of one process only; empty in files of older versions. */
  readonly process: string;
  /** How many objects the server announced; `count` may be less when parts were lost. */
  readonly expected: number;
  /** Objects that came twice (older servers repeat ids): only the first was kept. */
  readonly repeated: number;
  /** References to objects that are not in the snapshot. */
  readonly dangling: number;
}

/** Whether two snapshots are of different processes, as far as is known: an address means nothing in the other then. */
export function areStrangers(one: HeapFacts, other: HeapFacts): boolean {
  if (one.process && other.process) return one.process !== other.process;
  return one.origin !== other.origin && one.origin !== "" && other.origin !== "";
}

export interface Edges {
  readonly start: Uint32Array<ArrayBuffer>;
  readonly to: Uint32Array<ArrayBuffer>;
}

/** The references the other way round: who refers to object i. */
export function referrers(heap: Heap): Edges {
  const { count, refStart, refs } = heap;
  const start = new Uint32Array(count + 1);
  for (const target of refs) start[target + 1]!++;
  for (let i = 0; i < count; i++) start[i + 1]! += start[i]!;
  const next = start.slice(0, count);
  const to = new Uint32Array(refs.length);
  for (let i = 0; i < count; i++) {
    for (let e = refStart[i]!; e < refStart[i + 1]!; e++) to[next[refs[e]!]!++] = i;
  }
  return { start, to };
}
