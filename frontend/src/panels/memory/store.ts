/** The memory of the process over time: what the panel shows, fed by `memory_profile` or by published events. */

import { type Signal, signal } from "@preact/signals";
import { isMap, number, type RbkitEvent, text } from "../../protocol/codec.ts";
import { EventType, Field } from "../../protocol/constants.ts";
import { ClassCounts } from "./model/classcounts.ts";
import { type MemoryAnswer, readStats, type Site } from "./model/decode.ts";
import { Series } from "./model/series.ts";

/** Figures that have a chart. */
export type Metric = "total" | "heap" | "blocks" | "live" | "born" | "died" | "pause";

const METRICS: readonly Metric[] = ["total", "heap", "blocks", "live", "born", "died", "pause"];
/** A collection that ended without a start within so many milliseconds was not seen beginning. */
const LONGEST_PAUSE_MS = 600_000;

/** Growth is counted from a census at most so much older than the beginning. */
const FRESH_MS = 5000;

export interface Census {
  readonly method: string;
  readonly note: string;
  readonly tookMs: number | null;
  readonly at: number | null;
}

export class MemoryStore {
  series: { readonly [metric in Metric]: Series } = fresh();
  readonly classes = new ClassCounts();
  /** The last `gc_stats`. */
  readonly stats: Signal<ReadonlyMap<string, number>> = signal(new Map());
  readonly census: Signal<Census | null> = signal(null);
  readonly sites: Signal<readonly Site[]> = signal([]);
  /** Whether the server traces the begin and end of objects, as `memory_profile` last told. */
  readonly traced = signal(false);
  /** Rises with each change of series and classes: views that read it follow them. */
  readonly version = signal(0);
  /** Time of the last data, by the server's clock. */
  latest: number | null = null;
  /** Time of the first since the store was cleared. */
  earliest: number | null = null;
  /** Collections seen, and the longest pause in milliseconds. */
  collections = 0;
  longestPause = 0;
  #gcBegan: number | null = null;
  /** Time of the first answer since watching began. */
  #watchedFrom: number | null = null;
  /** Whether `memory_profile` knows births and deaths; else what is published of them is counted. */
  #exact = false;

  /** Forgets everything: another process is watched. */
  clear(): void {
    this.series = fresh();
    this.classes.clear();
    this.stats.value = new Map();
    this.census.value = null;
    this.sites.value = [];
    this.traced.value = false;
    this.latest = this.earliest = this.#gcBegan = this.#watchedFrom = null;
    this.collections = this.longestPause = 0;
    this.version.value++;
  }

  /** Watching begins, perhaps again: growth, births and deaths are counted from here. */
  begin(): void {
    this.#watchedFrom = null;
    this.classes.begin();
    this.version.value++;
  }

  /** Counts growth from the last census. */
  growFromNow(): void {
    this.classes.rebase(this.census.peek()?.at ?? this.latest ?? Date.now());
    this.version.value++;
  }

  /** Takes in an answer to `memory_profile`. */
  take(answer: MemoryAnswer): void {
    const { time, seconds } = answer;
    this.#moved(time);
    this.#watchedFrom ??= time;
    const at = answer.census.at ?? time;
    const whole = answer.classes.reduce((sum, row) => sum + row[1], 0) >= (answer.totalLive ?? Infinity);
    // The first answer may bring a census of long ago, when somebody else watched.
    this.classes.census(answer.classes, seconds, at >= this.#watchedFrom - FRESH_MS ? at : null, whole);
    this.series.live.add(time, answer.totalLive ?? this.classes.live);
    if (seconds > 0) {
      const total = (column: 2 | 3) => answer.classes.reduce((sum, row) => sum + (row[column] ?? 0), 0);
      const known = (column: 2 | 3) => answer.classes.some((row) => row[column] !== null);
      const begin = time - seconds * 1000;
      this.#exact = known(2) || known(3);
      if (known(2)) this.series.born.spread(begin, time, total(2));
      if (known(3)) this.series.died.spread(begin, time, total(3));
    }
    for (const collection of answer.collections) this.#paused(collection.time, collection.ms);
    this.census.value = answer.census;
    this.traced.value = answer.running;
    this.sites.value = answer.sites;
    if (answer.gc.size) this.#statistics(time, answer.gc);
    this.version.value++;
  }

  /**
   * Takes in published events.
   *
   * @param objects whether classes and pauses come from events: not where `memory_profile` tells them. Births and
   *   deaths do even there, as long as it does not know them.
   */
  events(events: readonly RbkitEvent[], objects: boolean): void {
    let changed = false;
    for (const event of events) changed = this.#event(event, objects) || changed;
    if (changed) this.version.value++;
  }

  #event(event: RbkitEvent, objects: boolean): boolean {
    const kind = event[Field.type];
    const time = number(event[Field.timestamp]) ?? 0;
    const payload = event[Field.payload];
    if (kind === EventType.gcStats) {
      this.#statistics(time, readStats(payload));
      return true;
    }
    if (!objects) return !this.#exact && this.#counted(kind, time);
    switch (kind) {
      case EventType.objectCreated: {
        const id = isMap(payload) ? number(payload[Field.objectId]) : null;
        if (!isMap(payload) || id === null) return false;
        this.classes.created(id, text(payload[Field.className]) ?? "(no name)");
        this.series.born.add(time, 1);
        break;
      }
      case EventType.objectDestroyed: {
        const id = isMap(payload) ? number(payload[Field.objectId]) : null;
        if (id === null || !this.classes.destroyed(id)) return false;
        this.series.died.add(time, 1);
        break;
      }
      case EventType.gcStart:
        this.#gcBegan = time;
        break;
      case EventType.gcEndMark: // what is swept after it is swept beside the program, for seconds perhaps
        if (this.#gcBegan !== null && time - this.#gcBegan < LONGEST_PAUSE_MS)
          this.#paused(this.#gcBegan, time - this.#gcBegan);
        this.#gcBegan = null;
        break;
      default:
        return false;
    }
    this.#moved(time);
    return true;
  }

  /** A birth or death beside a census that knows neither. */
  #counted(kind: unknown, time: number): boolean {
    if (kind !== EventType.objectCreated && kind !== EventType.objectDestroyed) return false;
    this.series[kind === EventType.objectCreated ? "born" : "died"].add(time, 1);
    return true;
  }

  /** Called every few seconds while events are what is known: rates and the count of the living are over that time. */
  turn(now: number): void {
    this.classes.turn(now);
    if (this.classes.size) this.series.live.add(now, this.classes.live);
    this.version.value++;
  }

  #statistics(time: number, stats: ReadonlyMap<string, number>): void {
    this.#moved(time);
    this.stats.value = stats;
    const first = (...keys: string[]) => keys.map((key) => stats.get(key)).find((value) => value !== undefined);
    const put = (metric: Metric, value: number | undefined) => {
      if (value !== undefined) this.series[metric].add(time, value);
    };
    put("total", first("rss", "total_memsize"));
    put("heap", first("total_heap_size"));
    put("blocks", first("allocated_blocks", "heap_live_slots", "heap_live_slot"));
  }

  #paused(time: number, ms: number): void {
    this.collections++;
    this.longestPause = Math.max(this.longestPause, ms);
    this.series.pause.add(time, ms);
  }

  #moved(time: number): void {
    if (time <= 0) return;
    this.latest = Math.max(time, this.latest ?? time);
    this.earliest = Math.min(time, this.earliest ?? time);
  }
}

function fresh(): { readonly [metric in Metric]: Series } {
  return Object.fromEntries(METRICS.map((metric) => [metric, new Series()])) as { [metric in Metric]: Series };
}
