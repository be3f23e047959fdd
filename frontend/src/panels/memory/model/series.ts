/**
 * Values over time in bounded memory: seconds for the last quarter of an hour, ten seconds for two hours, minutes for a
 * day. Each level keeps count, sum, least and largest of its buckets, so a peak stays a peak however far back it is.
 */

import type { EpochMs, Ms } from "../../../time.ts";

interface Level {
  readonly width: Ms;
  readonly capacity: number;
}

const LEVELS: readonly Level[] = [
  { width: 1000, capacity: 900 },
  { width: 10_000, capacity: 720 },
  { width: 60_000, capacity: 1440 },
];

/** Buckets in the order of time, as charts take them: one column a figure. */
export interface Buckets {
  readonly width: Ms;
  /** Their beginnings. */
  readonly times: EpochMs[];
  readonly mean: number[];
  readonly max: number[];
  readonly sum: number[];
}

class Ring {
  readonly #bucket: Float64Array;
  readonly #count: Float64Array;
  readonly #sum: Float64Array;
  readonly #max: Float64Array;

  constructor(readonly level: Level) {
    const { capacity } = level;
    this.#bucket = new Float64Array(capacity).fill(-1);
    this.#count = new Float64Array(capacity);
    this.#sum = new Float64Array(capacity);
    this.#max = new Float64Array(capacity);
  }

  add(time: EpochMs, value: number): void {
    const bucket = Math.floor(time / this.level.width);
    const slot = bucket % this.level.capacity;
    if (this.#bucket[slot]! > bucket) return; // older than all that is kept
    if (this.#bucket[slot] !== bucket) {
      this.#bucket[slot] = bucket;
      this.#count[slot] = this.#sum[slot] = 0;
      this.#max[slot] = value;
    }
    this.#count[slot]!++;
    this.#sum[slot]! += value;
    if (value > this.#max[slot]!) this.#max[slot] = value;
  }

  read(from: EpochMs, to: EpochMs): Buckets {
    const { width, capacity } = this.level;
    const last = Math.floor(to / width);
    const first = Math.max(Math.floor(from / width), last - capacity + 1);
    const times: number[] = [];
    const mean: number[] = [];
    const max: number[] = [];
    const sum: number[] = [];
    for (let bucket = first; bucket <= last; bucket++) {
      const slot = bucket % capacity;
      if (this.#bucket[slot] !== bucket) continue;
      times.push(bucket * width);
      mean.push(this.#sum[slot]! / this.#count[slot]!);
      max.push(this.#max[slot]!);
      sum.push(this.#sum[slot]!);
    }
    return { width, times, mean, max, sum };
  }
}

/** One figure over time. */
export class Series {
  readonly #rings = LEVELS.map((level) => new Ring(level));
  /** The last value; null before the first. */
  last: number | null = null;

  add(time: EpochMs, value: number): void {
    if (!Number.isFinite(time) || !Number.isFinite(value) || time < 0) return;
    this.last = value;
    for (const ring of this.#rings) ring.add(time, value);
  }

  /** Spreads an amount evenly over a span, so that what was counted in two seconds is no peak of one. */
  spread(from: EpochMs, to: EpochMs, amount: number): void {
    const step = LEVELS[0]!.width;
    const steps = Math.max(1, Math.min(Math.round((to - from) / step), 900));
    for (let i = 0; i < steps; i++) this.add(from + ((i + 0.5) * (to - from)) / steps, amount / steps);
  }

  /** The buckets of a span in the finest resolution that reaches back to its beginning. */
  read(from: EpochMs, to: EpochMs): Buckets {
    const ring = this.#rings.find(({ level }) => to - from <= level.width * level.capacity) ?? this.#rings.at(-1)!;
    return ring.read(from, to);
  }
}
