/** The memory of the process over time: what the panel shows, fed by `memory_profile` or by published events. */

import { batch, type Signal, signal } from "@preact/signals";
import { Observed, type ReadonlyObserved } from "../../observed.ts";
import { isMap, number, type RbkitEvent, text } from "../../protocol/codec.ts";
import { EventType, Field } from "../../protocol/constants.ts";
import type { EpochMs, Ms } from "../../time.ts";
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
  readonly took: Ms | null;
  readonly at: EpochMs | null;
}

/** What is counted over time; it changes in place. */
export interface MemoryFigures {
  readonly series: { readonly [metric in Metric]: Pick<Series, "last" | "read"> };
  readonly classes: Pick<ClassCounts, "list" | "live" | "since" | "size" | "unfollowed">;
  /** Time of the last data, by the server's clock. */
  readonly latest: EpochMs | null;
  /** Time of the first since the store was cleared. */
  readonly earliest: EpochMs | null;
  /** Collections seen, and the longest pause. */
  readonly collections: number;
  readonly longestPause: Ms;
}

/** The figures as their store has them. */
class CountedFigures implements MemoryFigures {
  readonly series = Object.fromEntries(METRICS.map((metric) => [metric, new Series()])) as {
    [metric in Metric]: Series;
  };
  readonly classes = new ClassCounts();
  latest: EpochMs | null = null;
  earliest: EpochMs | null = null;
  collections = 0;
  longestPause: Ms = 0;

  paused(time: EpochMs, took: Ms): void {
    this.collections++;
    this.longestPause = Math.max(this.longestPause, took);
    this.series.pause.add(time, took);
  }

  moved(time: EpochMs): void {
    if (time <= 0) return;
    this.latest = Math.max(time, this.latest ?? time);
    this.earliest = Math.min(time, this.earliest ?? time);
  }

  statistics(time: EpochMs, stats: ReadonlyMap<string, number>): void {
    this.moved(time);
    const first = (...keys: string[]) => keys.map((key) => stats.get(key)).find((value) => value !== undefined);
    const put = (metric: Metric, value: number | undefined) => {
      if (value !== undefined) this.series[metric].add(time, value);
    };
    put("total", first("rss", "total_memsize"));
    put("heap", first("total_heap_size"));
    put("blocks", first("allocated_blocks", "heap_live_slots", "heap_live_slot"));
  }
}

export class MemoryStore {
  /** The last `gc_stats`. */
  readonly stats: Signal<ReadonlyMap<string, number>> = signal(new Map());
  readonly census: Signal<Census | null> = signal(null);
  readonly sites: Signal<readonly Site[]> = signal([]);
  /** Whether the server traces the begin and end of objects, as `memory_profile` last told. */
  readonly traced = signal(false);
  readonly #figures = new Observed(new CountedFigures());
  readonly figures: ReadonlyObserved<MemoryFigures> = this.#figures;
  #gcBegan: EpochMs | null = null;
  /** Time of the first answer since watching began. */
  #watchedFrom: EpochMs | null = null;
  /** Whether `memory_profile` knows births and deaths; else what is published of them is counted. */
  #exact = false;

  /** Forgets everything: another process is watched. */
  clear(): void {
    this.#figures.replace(new CountedFigures());
    this.stats.value = new Map();
    this.census.value = null;
    this.sites.value = [];
    this.traced.value = false;
    this.#gcBegan = this.#watchedFrom = null;
  }

  /** Watching begins, perhaps again: growth, births and deaths are counted from here. */
  begin(): void {
    this.#watchedFrom = null;
    this.#figures.change(({ classes }) => classes.begin());
  }

  /** Counts growth from the last census. */
  growFromNow(): void {
    this.#figures.change(({ classes, latest }) => classes.rebase(this.census.peek()?.at ?? latest ?? Date.now()));
  }

  /** Takes in an answer to `memory_profile`. */
  take(answer: MemoryAnswer): void {
    batch(() => {
      this.#figures.change((figures) => this.#taken(figures, answer));
      this.census.value = answer.census;
      this.traced.value = answer.running;
      this.sites.value = answer.sites;
      if (answer.gc.size) this.stats.value = answer.gc;
    });
  }

  #taken(figures: CountedFigures, answer: MemoryAnswer): void {
    const { time, span } = answer;
    const { series, classes } = figures;
    figures.moved(time);
    this.#watchedFrom ??= time;
    const at = answer.census.at ?? time;
    const whole = answer.classes.reduce((sum, row) => sum + row[1], 0) >= (answer.totalLive ?? Infinity);
    // The first answer may bring a census of long ago, when somebody else watched.
    classes.census(answer.classes, span, at >= this.#watchedFrom - FRESH_MS ? at : null, whole);
    series.live.add(time, answer.totalLive ?? classes.live);
    if (span > 0) {
      const total = (column: 2 | 3) => answer.classes.reduce((sum, row) => sum + (row[column] ?? 0), 0);
      const known = (column: 2 | 3) => answer.classes.some((row) => row[column] !== null);
      const begin = time - span;
      this.#exact = known(2) || known(3);
      if (known(2)) series.born.spread(begin, time, total(2));
      if (known(3)) series.died.spread(begin, time, total(3));
    }
    for (const collection of answer.collections) figures.paused(collection.time, collection.took);
    if (answer.gc.size) figures.statistics(time, answer.gc);
  }

  /**
   * Takes in published events.
   *
   * @param alone whether classes and pauses come from events: not where `memory_profile` tells them. Births and
   *   deaths do even there, as long as it does not know them.
   */
  events(events: readonly RbkitEvent[], alone: boolean): void {
    batch(() =>
      this.#figures.change((figures) => {
        let changed = false;
        for (const event of events) changed = this.#event(figures, event, alone) || changed;
        return changed;
      }),
    );
  }

  #event(figures: CountedFigures, event: RbkitEvent, alone: boolean): boolean {
    const kind = event[Field.type];
    const time = number(event[Field.timestamp]) ?? 0;
    const payload = event[Field.payload];
    const { series, classes } = figures;
    if (kind === EventType.gcStats) {
      this.stats.value = readStats(payload);
      figures.statistics(time, this.stats.peek());
      return true;
    }
    if (!alone) return !this.#exact && countedBeside(figures, kind, time);
    switch (kind) {
      case EventType.objectCreated: {
        const id = isMap(payload) ? number(payload[Field.objectId]) : null;
        if (!isMap(payload) || id === null) return false;
        classes.created(id, text(payload[Field.className]) ?? "(no name)");
        series.born.add(time, 1);
        break;
      }
      case EventType.objectDestroyed: {
        const id = isMap(payload) ? number(payload[Field.objectId]) : null;
        if (id === null || !classes.destroyed(id)) return false;
        series.died.add(time, 1);
        break;
      }
      case EventType.gcStart:
        this.#gcBegan = time;
        break;
      case EventType.gcEndMark: // what is swept after it is swept beside the program, for seconds perhaps
        if (this.#gcBegan !== null && time - this.#gcBegan < LONGEST_PAUSE_MS)
          figures.paused(this.#gcBegan, time - this.#gcBegan);
        this.#gcBegan = null;
        break;
      default:
        return false;
    }
    figures.moved(time);
    return true;
  }

  /** Called every few seconds while events are what is known: rates and the count of the living are over that time. */
  turn(now: EpochMs): void {
    this.#figures.change(({ series, classes }) => {
      classes.turn(now);
      if (classes.size) series.live.add(now, classes.live);
    });
  }
}

/** A birth or death beside a census that knows neither. */
function countedBeside({ series }: CountedFigures, kind: unknown, time: EpochMs): boolean {
  if (kind !== EventType.objectCreated && kind !== EventType.objectDestroyed) return false;
  series[kind === EventType.objectCreated ? "born" : "died"].add(time, 1);
  return true;
}
