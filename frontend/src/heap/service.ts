/**
 * What the worker does, without the worker: keeps snapshots and answers questions about them. Questions come one after
 * the other; an answer holds rows to show, never a heap.
 */

import { Analysis, type ObjectQuery, type ObjectRow, type Page } from "./analysis.ts";
import { HeapBuilder } from "./builder.ts";
import { Change, type Diff, type DiffRow, diff } from "./diff.ts";
import { read, write } from "./file.ts";
import { areStrangers, type HeapFacts } from "./heap.ts";
import type { ClassRow, SiteRow } from "./histogram.ts";
import { MOST_ROWS } from "./rows.ts";

/** A snapshot as the list of snapshots shows it. */
export interface Summary {
  readonly key: number;
  readonly name: string;
  readonly count: number;
  readonly size: number;
  readonly references: number;
  /** Whether retained sizes are known. */
  readonly retained: boolean;
  readonly facts: HeapFacts;
}

export type ClassOrder = "name" | "count" | "size" | "references" | "retained";

export interface ClassQuery {
  readonly filter?: string;
  readonly order?: ClassOrder;
  readonly ascending?: boolean;
  readonly offset?: number;
  readonly limit?: number;
}

export type DiffOrder = "name" | "count" | "size" | "created" | "gone" | "grown";

export interface DiffQuery {
  readonly filter?: string;
  readonly order?: DiffOrder;
  readonly ascending?: boolean;
  /** Classes in which nothing changed and the profiler's own, too. */
  readonly all?: boolean;
  readonly offset?: number;
  readonly limit?: number;
}

/** Keeps snapshots by key. All methods may throw; what they throw is told to whoever asked. */
export class HeapService {
  readonly #kept = new Map<number, Analysis>();
  readonly #building = new Map<number, HeapBuilder>();
  readonly #compared = new Map<string, Diff>();
  readonly #objectsIn: (message: Uint8Array) => unknown[];
  #last = 0;

  /** @param objectsIn the objects (maps with integer keys) in a message of the server. */
  constructor(objectsIn: (message: Uint8Array) => unknown[]) {
    this.#objectsIn = objectsIn;
  }

  /** A new snapshot to be filled; returns its key. */
  begin(): number {
    this.#building.set(++this.#last, new HeapBuilder());
    return this.#last;
  }

  /** Adds the objects of one message; returns how many are there now. */
  add(key: number, message: Uint8Array): number {
    const builder = this.#building.get(key);
    if (!builder) throw new Error("This snapshot is not being taken any more.");
    builder.add(this.#objectsIn(message));
    return builder.count;
  }

  /** Ends the filling. */
  finish(key: number, name: string, facts: Pick<HeapFacts, "time" | "origin" | "process" | "expected">): Summary {
    const builder = this.#building.get(key);
    if (!builder) throw new Error("This snapshot is not being taken any more.");
    this.#building.delete(key);
    this.#kept.set(key, new Analysis(builder.finish(facts), name));
    return this.#summary(key);
  }

  /** A snapshot from a file. */
  async open(file: Blob): Promise<Summary> {
    const { heap, name } = await read(file);
    const key = ++this.#last;
    this.#kept.set(key, new Analysis(heap, name));
    return this.#summary(key);
  }

  save(key: number): Promise<Blob> {
    const { heap, name } = this.#get(key);
    return write(heap, name);
  }

  rename(key: number, name: string): Summary {
    this.#get(key).name = name;
    return this.#summary(key);
  }

  /** Forgets a snapshot, or one that is being filled. */
  drop(key: number): void {
    this.#building.delete(key);
    this.#kept.delete(key);
    for (const pair of this.#compared.keys()) if (pair.split("-").includes(String(key))) this.#compared.delete(pair);
  }

  /** Classes by a query; `totals` are those of all that fit. */
  classes(key: number, query: ClassQuery = {}): Page<ClassRow> {
    const { filter = "", order = "size", ascending = false, offset = 0, limit = 100 } = query;
    const rows = matching(this.#get(key).classes, filter);
    const by = (row: ClassRow): number | string => (order === "name" ? row.name : (row[order] ?? 0));
    return page(ordered(rows, by, ascending), offset, limit);
  }

  sites(key: number, classNumber: number): Page<SiteRow> {
    return page(this.#get(key).sites(classNumber), 0, MOST_ROWS);
  }

  objects(key: number, query: ObjectQuery): Page<ObjectRow> {
    return this.#get(key).objects(boundedQuery(query));
  }

  neighbours(
    key: number,
    index: number,
    direction: "references" | "referrers",
    offset = 0,
    limit = 100,
  ): Page<ObjectRow> {
    return this.#get(key).neighbours(this.#checked(key, index), direction, offset, Math.min(limit, MOST_ROWS));
  }

  path(key: number, index: number): ObjectRow[] {
    return this.#get(key).path(this.#checked(key, index));
  }

  dominatorsOf(key: number, index: number): ObjectRow[] {
    return this.#get(key).dominatorsOf(this.#checked(key, index));
  }

  /** Computes what `retained` columns show: seconds for a million objects. */
  retain(key: number): Summary {
    void this.#get(key).dominators;
    return this.#summary(key);
  }

  /** The classes of two snapshots compared, by a query. */
  diff(before: number, after: number, query: DiffQuery = {}): Page<DiffRow> {
    const { filter = "", order = "size", ascending = false, all = false, offset = 0, limit = 100 } = query;
    const strangers = areStrangers(this.#get(before).heap.facts, this.#get(after).heap.facts);
    const changed = this.#diffOf(before, after).rows.filter(
      (row) => all || (!isOurs(row.name) && hasChanged(row, strangers)),
    );
    const by = (row: DiffRow): number | string => {
      if (order === "count") return row.countAfter - row.countBefore;
      if (order === "size") return row.sizeAfter - row.sizeBefore;
      return row[order];
    };
    return page(ordered(matching(changed, filter), by, ascending), offset, limit);
  }

  /** The new or grown objects of the later snapshot, or the gone ones of the earlier, by a query. */
  changed(before: number, after: number, change: Change, query: ObjectQuery): Page<ObjectRow> {
    const found = this.#diffOf(before, after);
    const [key, marks] = change === Change.gone ? [before, found.before] : [after, found.after];
    return this.#get(key).objects(boundedQuery(query), (index) => marks[index] === change);
  }

  #diffOf(before: number, after: number): Diff {
    const pair = `${before}-${after}`;
    let found = this.#compared.get(pair);
    if (!found) {
      found = diff(this.#get(before).heap, this.#get(after).heap);
      this.#compared.clear(); // one comparison at a time is looked at
      this.#compared.set(pair, found);
    }
    return found;
  }

  #get(key: number): Analysis {
    const found = this.#kept.get(key);
    if (!found) throw new Error("This snapshot is not there any more.");
    return found;
  }

  #checked(key: number, index: number): number {
    if (!(index >= 0 && index < this.#get(key).heap.count)) throw new Error("There is no such object.");
    return index;
  }

  #summary(key: number): Summary {
    const { heap, name, hasRetained } = this.#get(key);
    let size = 0;
    for (const bytes of heap.sizes) size += bytes;
    return {
      key,
      name,
      count: heap.count,
      size,
      references: heap.refs.length,
      retained: hasRetained,
      facts: heap.facts,
    };
  }
}

function matching<T extends { readonly name: string }>(rows: readonly T[], filter: string): T[] {
  const text = filter.toLowerCase();
  return rows.filter((row) => row.name.toLowerCase().includes(text));
}

function ordered<T>(rows: T[], by: (row: T) => number | string, ascending: boolean): T[] {
  const sign = ascending ? 1 : -1;
  return rows.sort((a, b) => {
    const x = by(a);
    const y = by(b);
    return x === y ? 0 : sign * (x > y ? 1 : -1);
  });
}

function page<T>(rows: readonly T[], offset: number, limit: number): Page<T> {
  return { total: rows.length, rows: rows.slice(offset, offset + Math.min(limit, MOST_ROWS)) };
}

function boundedQuery(query: ObjectQuery): ObjectQuery {
  return { ...query, limit: Math.min(query.limit ?? 100, MOST_ROWS) };
}

/** @param strangers of two processes: no object of one is the other's, so only sums tell. */
function hasChanged(row: DiffRow, strangers: boolean): boolean {
  if (strangers) return row.countBefore !== row.countAfter || row.sizeBefore !== row.sizeAfter;
  return row.created > 0 || row.gone > 0 || row.grown > 0 || row.sizeBefore !== row.sizeAfter;
}

/** What the profiler itself needs comes and goes with those who watch, and is nobody's leak. */
function isOurs(className: string): boolean {
  return className.startsWith("rbkit_websocket.");
}
