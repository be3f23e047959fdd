/**
 * Two snapshots of one process compared. Objects are the same if id and class are: an id is an address, so an object
 * that died and one of the same class that took its place look like one.
 */

import type { Heap } from "./heap.ts";
import { IdIndex } from "./ids.ts";

export interface DiffRow {
  readonly name: string;
  /** Class numbers in the two snapshots, -1 where it has none. */
  readonly before: number;
  readonly after: number;
  readonly countBefore: number;
  readonly countAfter: number;
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  /** Objects only in the later, only in the earlier, and in both but larger now. */
  readonly created: number;
  readonly gone: number;
  readonly grown: number;
  /** Bytes of the new ones, and by how many bytes the grown ones have grown. */
  readonly createdSize: number;
  readonly grownSize: number;
}

export enum Change {
  same = 0,
  created = 1,
  grown = 2,
  gone = 3,
}

export interface Diff {
  readonly rows: readonly DiffRow[];
  /** What became of each object: of the later snapshot (same, created, grown) and of the earlier (same, gone). */
  readonly after: Uint8Array<ArrayBuffer>;
  readonly before: Uint8Array<ArrayBuffer>;
}

type Totals = { -readonly [key in keyof DiffRow]: DiffRow[key] };

export function diff(before: Heap, after: Heap): Diff {
  const rows = new Map<string, Totals>();
  const rowOf = (name: string): Totals => {
    let row = rows.get(name);
    if (!row) {
      row = {
        name,
        before: -1,
        after: -1,
        countBefore: 0,
        countAfter: 0,
        sizeBefore: 0,
        sizeAfter: 0,
        created: 0,
        gone: 0,
        grown: 0,
        createdSize: 0,
        grownSize: 0,
      };
      rows.set(name, row);
    }
    return row;
  };
  const old = before.classes.map(rowOf);
  const now = after.classes.map(rowOf);
  for (const [number, row] of old.entries()) row.before = number;
  for (const [number, row] of now.entries()) row.after = number;

  const index = new IdIndex({ get: (i) => before.ids[i]! }, before.count);
  const afterChange = new Uint8Array(after.count);
  const beforeChange = new Uint8Array(before.count).fill(Change.gone);
  for (let i = 0; i < after.count; i++) {
    const row = now[after.classOf[i]!]!;
    const size = after.sizes[i]!;
    row.countAfter++;
    row.sizeAfter += size;
    const earlier = index.find(after.ids[i]!);
    if (earlier < 0 || old[before.classOf[earlier]!] !== row) {
      row.created++;
      row.createdSize += size;
      afterChange[i] = Change.created;
      continue;
    }
    beforeChange[earlier] = Change.same;
    const more = size - before.sizes[earlier]!;
    if (more > 0) {
      row.grown++;
      row.grownSize += more;
      afterChange[i] = Change.grown;
    }
  }
  for (let i = 0; i < before.count; i++) {
    const row = old[before.classOf[i]!]!;
    row.countBefore++;
    row.sizeBefore += before.sizes[i]!;
    if (beforeChange[i] === Change.gone) row.gone++;
  }
  return { rows: [...rows.values()], after: afterChange, before: beforeChange };
}
