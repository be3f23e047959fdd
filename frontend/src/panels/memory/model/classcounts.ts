/** Live objects, births and deaths by class, from whichever of the two sources a server has. */

import { type EpochMs, type Ms, toSeconds } from "../../../time.ts";

/** One class. */
export interface ClassCount {
  readonly name: string;
  /** Living now; from events: those seen born and not seen dying. */
  live: number;
  /** Since watching began; null where the server does not know. */
  born: number | null;
  died: number | null;
  /** A second, over the last span; null where not known. */
  bornRate: number | null;
  diedRate: number | null;
  /** How many of the living are in the collector's oldest generation; null where not known. */
  old: number | null;
  /** Living at `since`; null where not known. */
  first: number | null;
}

export type ClassCountOrder = "name" | "live" | "growth" | "born" | "died" | "bornRate" | "diedRate" | "old";

/** At most so many objects are followed by id; what is born beyond that is counted, but its death is not recognised. */
export const MAX_FOLLOWED = 500_000;

/** Beyond so many classes those without a living object are forgotten: code that makes classes on the fly has no end. */
export const MAX_CLASSES = 20_000;

/** How many more live than at the beginning; null where that is not known. */
export function growthOf({ live, first }: ClassCount): number | null {
  return first === null ? null : live - first;
}

export class ClassCounts {
  readonly #rows = new Map<string, ClassCount>();
  readonly #classOfId = new Map<number, ClassCount>();
  /** When the census was made that growth is counted from; null before one. */
  since: EpochMs | null = null;
  /** Whether that census told of every class: one that comes later had no objects then. */
  #whole = false;
  /** Objects whose death will not be recognised. */
  unfollowed = 0;
  #windowBegan: EpochMs | null = null;
  readonly #windowBorn = new Map<ClassCount, number>();
  readonly #windowDied = new Map<ClassCount, number>();

  get size(): number {
    return this.#rows.size;
  }

  /** Live objects of all classes. */
  get live(): number {
    let sum = 0;
    for (const row of this.#rows.values()) sum += row.live;
    return sum;
  }

  #row(name: string, live: number): ClassCount {
    let row = this.#rows.get(name);
    if (!row) {
      const first = this.since === null ? null : this.#whole ? 0 : live;
      row = { name, live, born: null, died: null, bornRate: null, diedRate: null, old: null, first };
      this.#rows.set(name, row);
    }
    return row;
  }

  /**
   * Takes in a census: `[name, live, born, died, old]` a class, births and deaths within the last `span`
   * (0: none). A class that is not in it has no living objects.
   *
   * @param at when it was made, if growth may be counted from it: not from one of before watching began.
   * @param whole whether it tells of every class.
   */
  census(
    classes: Iterable<readonly [string, number, number | null, number | null, number | null]>,
    span: Ms,
    at: EpochMs | null = null,
    whole = false,
  ): void {
    const seconds = toSeconds(span);
    const seen = new Set<ClassCount>();
    for (const [name, live, born, died, old] of classes) {
      const row = this.#row(name, live);
      seen.add(row);
      row.live = live;
      row.old = old;
      if (born !== null) row.born = (row.born ?? 0) + born;
      if (died !== null) row.died = (row.died ?? 0) + died;
      row.bornRate = born !== null && seconds > 0 ? born / seconds : null;
      row.diedRate = died !== null && seconds > 0 ? died / seconds : null;
    }
    for (const row of this.#rows.values()) {
      if (seen.has(row)) continue;
      row.live = 0;
      row.old = row.old === null ? null : 0;
      row.bornRate = row.bornRate === null ? null : 0;
      row.diedRate = row.diedRate === null ? null : 0;
    }
    if (this.since === null && at !== null) this.rebase(at, whole);
    this.#prune();
  }

  /** Counts growth from what lives now, as it was counted at that time. */
  rebase(at: EpochMs, whole = this.#whole): void {
    this.since = at;
    this.#whole = whole;
    for (const row of this.#rows.values()) row.first = row.live;
  }

  /** Watching begins anew: what was counted before is none of its births, deaths and growth. */
  begin(): void {
    this.since = null;
    for (const row of this.#rows.values()) row.first = row.born = row.died = null;
  }

  #prune(): void {
    if (this.#rows.size <= MAX_CLASSES) return;
    for (const [name, row] of this.#rows) if (row.live <= 0) this.#rows.delete(name);
  }

  /** An `obj_created` event. */
  created(id: number, name: string): void {
    const row = this.#row(name, 0);
    const former = this.#classOfId.get(id);
    if (former) this.#ended(former); // its death was lost: ids are used again only when it is dead
    row.live++;
    row.born = (row.born ?? 0) + 1;
    row.died ??= 0;
    this.#windowBorn.set(row, (this.#windowBorn.get(row) ?? 0) + 1);
    if (former || this.#classOfId.size < MAX_FOLLOWED) this.#classOfId.set(id, row);
    else this.unfollowed++;
  }

  /** An `obj_destroyed` event; false for an object that was not seen being born. */
  destroyed(id: number): boolean {
    const row = this.#classOfId.get(id);
    if (!row) return false;
    this.#classOfId.delete(id);
    this.#ended(row);
    return true;
  }

  #ended(row: ClassCount): void {
    row.live--;
    row.died = (row.died ?? 0) + 1;
    this.#windowDied.set(row, (this.#windowDied.get(row) ?? 0) + 1);
  }

  /** Ends a span of events: rates are those since the last call. */
  turn(now: EpochMs): void {
    const seconds = this.#windowBegan === null ? 0 : toSeconds(now - this.#windowBegan);
    this.#windowBegan = now;
    for (const row of this.#rows.values()) {
      row.bornRate = seconds > 0 ? (this.#windowBorn.get(row) ?? 0) / seconds : null;
      row.diedRate = seconds > 0 ? (this.#windowDied.get(row) ?? 0) / seconds : null;
    }
    this.#windowBorn.clear();
    this.#windowDied.clear();
    this.#prune();
  }

  /** The classes whose name contains the text, in order; what is not known comes last. */
  list(filter: string, order: ClassCountOrder, ascending: boolean): ClassCount[] {
    const wanted = filter.toLowerCase();
    const found = [...this.#rows.values()].filter((row) => row.name.toLowerCase().includes(wanted));
    const sign = ascending ? 1 : -1;
    if (order === "name") return found.sort((a, b) => sign * (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    const key = (row: ClassCount): number | null => (order === "growth" ? growthOf(row) : row[order]);
    return found.sort((a, b) => {
      const x = key(a);
      const y = key(b);
      if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
      return sign * (x - y);
    });
  }
}
