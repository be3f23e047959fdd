/** Series as a chart takes them: one column of times, and a value or a gap of each line at every time. */

import { type EpochMs, toSeconds } from "../../../time.ts";
import type { Buckets, Series } from "./series.ts";

export interface ChartData {
  readonly times: EpochMs[];
  readonly columns: (number | null)[][];
}

/** A series that is only read. */
type Readable = Pick<Series, "read">;

export type Statistic = "mean" | "max" | "perSecond";

/** Levels: at every time at which one of them has a value. */
export function levels(series: readonly Readable[], from: EpochMs, to: EpochMs, figure: Statistic = "mean"): ChartData {
  const read = series.map((one) => one.read(from, to));
  const times = [...new Set(read.flatMap((buckets) => buckets.times))].sort((a, b) => a - b);
  return { times, columns: read.map((buckets) => column(buckets, times, figure, null)) };
}

/** Counts a second: nothing counted is none, from the first count of any of them on; the bucket that still fills is left out. */
export function rates(series: readonly Readable[], from: EpochMs, to: EpochMs): ChartData {
  const read = series.map((one) => one.read(from, to));
  const begins = read.flatMap((buckets) => buckets.times.slice(0, 1));
  if (!begins.length) return { times: [], columns: series.map(() => []) };
  const width = read[0]!.width;
  const times: EpochMs[] = [];
  for (let time = Math.min(...begins); time + width <= to; time += width) times.push(time);
  return { times, columns: read.map((buckets) => column(buckets, times, "perSecond", 0)) };
}

function column(
  buckets: Buckets,
  times: readonly EpochMs[],
  figure: Statistic,
  missing: number | null,
): (number | null)[] {
  const values = new Map(
    buckets.times.map((time, i) => {
      if (figure === "perSecond") return [time, buckets.sum[i]! / toSeconds(buckets.width)];
      return [time, buckets[figure][i]!];
    }),
  );
  return times.map((time) => values.get(time) ?? missing);
}
