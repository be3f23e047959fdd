import { Chart } from "../../ui/chart.tsx";
import { count, percent } from "../../ui/format.ts";
import { type CpuStore, ONE_SAMPLE_US } from "./store.ts";

interface Props {
  readonly store: CpuStore;
  /** Seconds since the epoch. */
  readonly at: readonly number[];
  /** Weight by time, of which 1 is one core. */
  readonly busy: readonly number[];
  readonly height: number;
  readonly onSelect?: (from: number, to: number) => void;
}

/** How busy the process was; the number of samples where nobody knows what each stands for. */
export function BusyChart({ store, at, busy, ...rest }: Props) {
  if (!store.timed.value) {
    const samples = busy.map((share) => (share * 1e6) / ONE_SAMPLE_US);
    return (
      <Chart
        label={`${count(Math.round(samples.at(-1) ?? 0))} samples a second`}
        lines={[{ label: "samples", color: "--chart-2", area: true }]}
        data={[at, samples]}
        format={(value) => count(Math.round(value))}
        range={[0, 1]}
        {...rest}
      />
    );
  }
  return (
    <Chart
      label={`Share of the time that code was running, now ${percent(busy.at(-1) ?? 0)}`}
      lines={[{ label: "busy", color: "--chart-2", area: true }]}
      data={[at, busy]}
      format={(value) => `${Math.round(value * 100)}%`}
      range={[0, 1]}
      {...rest}
    />
  );
}
