import { type EpochMs, fromSeconds } from "../../time.ts";
import { Chart, STRIP } from "../../ui/chart.tsx";
import { count, percent } from "../../ui/format.ts";
import type { Clock } from "./model/history.ts";
import { type CpuStore, ONE_SAMPLE_MS } from "./store.ts";

interface BusyChartProps {
  readonly store: CpuStore;
  readonly clock: Clock;
  readonly at: readonly EpochMs[];
  /** Weight by time: 1 is one core, or one thread or request at a time. */
  readonly busy: readonly number[];
  readonly height: number;
  readonly onSelect?: (from: EpochMs, to: EpochMs) => void;
}

/** CPU time as a share of one core, time as how many spent it at once; where neither is known the number of samples. */
export function BusyChart({ store, clock, at, busy, ...rest }: BusyChartProps) {
  const samples = (share: number) => count(Math.round(fromSeconds(share) / ONE_SAMPLE_MS));
  const cpu = clock === "cpu";
  const format = !store.timed.value ? samples : cpu ? wholePercent : atOnce;
  const now = busy.at(-1) ?? 0;
  const words = !store.timed.value
    ? `${samples(now)} samples a second`
    : cpu
      ? `CPU time, now ${percent(now)} of one core`
      : `Time spent, now by ${atOnce(now)} at once`;
  return (
    <Chart
      label={words}
      look={STRIP}
      times={at}
      lines={[{ label: cpu ? "CPU" : "at once", color: cpu ? "--chart-2" : "--chart-1", values: busy, shape: "area" }]}
      format={format}
      scale={scaleToOne}
      {...rest}
    />
  );
}

/** Up to 1 at least, which is one core or one thread. */
function scaleToOne(_least: number | null, most: number | null): [number, number] {
  return [0, Math.max((most ?? 0) * 1.05, 1)];
}

function wholePercent(share: number): string {
  return `${Math.round(share * 100)}%`;
}

function atOnce(share: number): string {
  return share >= 9.95 ? count(Math.round(share)) : share.toFixed(1);
}
