import type { Ms, Span } from "../../time.ts";
import { bytes, count, duration } from "../../ui/format.ts";
import { TimeChart } from "../../ui/timechart.tsx";
import { levels, rates } from "./model/chartdata.ts";
import type { MemoryWords } from "./model/figurewords.ts";
import type { MemoryFigures, MemoryStore } from "./store.ts";

const SHORTEST_MS = 30_000;

/** The span of that length that ends with the last data; shorter while there are not so many yet. */
export function spanOf({ earliest, latest }: MemoryFigures, length: Ms): Span {
  const to = latest ?? Date.now();
  const first = Math.min(earliest ?? to, to - SHORTEST_MS);
  return { from: Math.max(to - length, first), to };
}

export const perSecond = (value: number): string =>
  `${value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`;
const whole = (value: number): string => count(Math.round(value));

interface MemoryChartProps {
  readonly store: MemoryStore;
  readonly span: Span;
  readonly words: MemoryWords;
  readonly height?: number;
  /** Without its title: it stands in a card that has one. */
  readonly bare?: boolean;
}

export function BytesChart({ store, span, words, height, bare = false }: MemoryChartProps) {
  const { series } = store.figures.value;
  const { times, columns } = levels([series.total, series.heap], span.from, span.to);
  const lines = [
    { label: words.total.line, color: "--chart-1", values: columns[0]!, shape: "area" },
    { label: words.heap.line, color: "--chart-4", values: columns[1]!, shape: "line" },
  ] as const;
  return (
    <TimeChart
      title="Memory"
      {...span}
      times={times}
      lines={lines.filter((line) => line.values.some((value) => value !== null))}
      format={bytes}
      binary
      bare={bare}
      fromZero={false}
      {...(height ? { height } : {})}
    />
  );
}

export function LiveChart({ store, span }: Omit<MemoryChartProps, "words">) {
  const { series } = store.figures.value;
  const { times, columns } = levels([series.live], span.from, span.to);
  const line = { label: "live", color: "--chart-3", values: columns[0]!, shape: "area" } as const;
  return (
    <TimeChart title="Live objects" {...span} times={times} lines={[line]} format={whole} whole fromZero={false} />
  );
}

export function BlocksChart({ store, span, words }: MemoryChartProps) {
  const { series } = store.figures.value;
  const { times, columns } = levels([series.blocks], span.from, span.to);
  const line = { label: words.blocks.line, color: "--chart-5", values: columns[0]!, shape: "line" } as const;
  return (
    <TimeChart
      title={words.blocks.title}
      {...span}
      times={times}
      lines={[line]}
      format={whole}
      whole
      fromZero={false}
    />
  );
}

export function RatesChart({ store, span }: Omit<MemoryChartProps, "words">) {
  const { series } = store.figures.value;
  const { times, columns } = rates([series.born, series.died], span.from, span.to);
  const lines = [
    { label: "born", color: "--chart-1", values: columns[0]!, shape: "line" },
    { label: "died", color: "--chart-2", values: columns[1]!, shape: "line" },
  ] as const;
  return <TimeChart title="Births and deaths" {...span} times={times} lines={lines} format={perSecond} />;
}

export function PausesChart({ store, span, words, height }: MemoryChartProps) {
  const { series } = store.figures.value;
  const { times, columns } = levels([series.pause], span.from, span.to, "max");
  const line = { label: words.pause.line, color: "--chart-2", values: columns[0]!, shape: "bars" } as const;
  return (
    <TimeChart
      title="Garbage collections"
      {...span}
      times={times}
      lines={[line]}
      format={duration}
      {...(height ? { height } : {})}
    />
  );
}
