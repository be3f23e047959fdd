/** Series as a chart takes them: one column of times, and a value or a gap of each line at every time. */

import type { Buckets, Series } from "./series.ts";

export interface ChartData {
  readonly times: number[];
  readonly columns: (number | null)[][];
}

/** A series that is only read. */
type Readable = Pick<Series, "read">;

export type Figure = "mean" | "max" | "perSecond";

/** Levels: at every time at which one of them has a value. */
export function levels(series: readonly Readable[], from: number, to: number, figure: Figure = "mean"): ChartData {
  const read = series.map((one) => one.read(from, to));
  const times = [...new Set(read.flatMap((buckets) => buckets.times))].sort((a, b) => a - b);
  return { times, columns: read.map((buckets) => column(buckets, times, figure, null)) };
}

/** Counts a second: nothing counted is none, from the first count of any of them on; the bucket that still fills is left out. */
export function rates(series: readonly Readable[], from: number, to: number): ChartData {
  const read = series.map((one) => one.read(from, to));
  const begins = read.flatMap((buckets) => buckets.times.slice(0, 1));
  if (!begins.length) return { times: [], columns: series.map(() => []) };
  const width = read[0]!.widthMs;
  const times: number[] = [];
  for (let time = Math.min(...begins); time + width <= to; time += width) times.push(time);
  return { times, columns: read.map((buckets) => column(buckets, times, "perSecond", 0)) };
}

function column(buckets: Buckets, times: readonly number[], figure: Figure, missing: number | null): (number | null)[] {
  const values = new Map(
    buckets.times.map((time, i) => {
      if (figure === "perSecond") return [time, buckets.sum[i]! / (buckets.widthMs / 1000)];
      return [time, buckets[figure][i]!];
    }),
  );
  return times.map((time) => values.get(time) ?? missing);
}
