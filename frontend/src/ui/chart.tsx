import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { cssColor, theme } from "../theme.ts";
import type { EpochMs, Span } from "../time.ts";
import { clock } from "./format.ts";
import "./chart.css";

/** A line, its values by the chart's times; null is a gap. */
export interface ChartLine {
  readonly label: string;
  readonly color: `--${string}`;
  readonly values: readonly (number | null)[];
  /** Bars for single events, an area for a level, else a line. */
  readonly shape?: "bars" | "area" | "line" | undefined;
}

/** What tells one kind of chart from another. */
export interface ChartLook {
  readonly font: string;
  /** Pixels between two labels, at least: of time and of values. */
  readonly between: readonly [number, number];
  /** Pixels that the labels of values take. */
  readonly labelWidth: number;
  readonly lineWidth: number;
  /** How opaque what is below a line is, in two hexadecimal digits. */
  readonly fill: string;
  /** Whether there are lines upwards from the labels of time, and one to the side at the pointer. */
  readonly ruled: boolean;
  /** Between which labels of time to choose; any that suit a calendar else. */
  readonly timeSteps?: number[];
  /** The label of a time. */
  readonly timeWords: (time: EpochMs, step: number) => string;
}

/** Figures with a title and a legend around them. */
export const FIGURE: ChartLook = {
  font: "11px system-ui, sans-serif",
  between: [70, 34],
  labelWidth: 62,
  lineWidth: 2,
  fill: "26",
  ruled: false,
  timeWords: (time, step) => clock(time).slice(0, step < 60_000 ? 8 : 5),
};

const STRIP_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

/** A low strip of time, whose stretches can be marked. */
export const STRIP: ChartLook = {
  font: "11px sans-serif",
  between: [90, 24],
  labelWidth: 54,
  lineWidth: 1.5,
  fill: "30",
  ruled: true,
  // No finer than the labels tell.
  timeSteps: STRIP_STEPS_S.map((seconds) => seconds * 1000),
  timeWords: clock,
};

export interface ChartProps {
  /** Said by screen readers; a legend, a table or a sentence elsewhere has to tell the figures. */
  readonly label: string;
  readonly look: ChartLook;
  readonly height: number;
  /** Rising. */
  readonly times: readonly EpochMs[];
  readonly lines: readonly ChartLine[];
  /** A value as the axis has it. */
  readonly format: (value: number) => string;
  /** Least and most of the axis of values, out of those of the values shown; null where there are none. */
  readonly scale: (least: number | null, most: number | null) => [number, number];
  /** Between which labels of values to choose; any that suit numbers else. */
  readonly valueSteps?: number[] | undefined;
  /** What is shown; all times else. */
  readonly span?: Span;
  /** Called with the number of the time under the pointer, null when it has left. */
  readonly onHover?: (index: number | null) => void;
  /** Called when a stretch has been marked. */
  readonly onSelect?: (from: EpochMs, to: EpochMs) => void;
}

/** Lines over time on a canvas as wide as its place: the only one that knows uPlot. */
export function Chart(props: ChartProps) {
  const { label, look, height, times, lines, span, valueSteps } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  // The plot is made once and draws often: what it calls is what was given last.
  const given = useRef(props);
  given.current = props;
  const columns = [times, ...lines.map(({ values }) => values)];
  const kinds = lines.map((line) => `${line.label} ${line.color} ${line.shape}`).join("|");

  // Made anew when it looks otherwise, gone with its place.
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new uPlot(optionsOf(given, element), columns as unknown as uPlot.AlignedData, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [height, theme.value, look, kinds, valueSteps]);

  useEffect(() => {
    plot.current?.setData(columns as unknown as uPlot.AlignedData);
  }, [span?.from, span?.to, ...columns]);

  return <div class="chart" role="img" aria-label={label} ref={host} />;
}

function optionsOf(given: { readonly current: ChartProps }, element: HTMLElement): uPlot.Options {
  const { look, lines, height, span, valueSteps, onSelect } = given.current;
  const grid = { stroke: cssColor("--chart-grid"), width: 1 };
  const axis: uPlot.Axis = { stroke: cssColor("--text-soft"), grid, ticks: { show: false }, font: look.font };
  return {
    ms: 1,
    width: Math.max(element.clientWidth, 50),
    height,
    legend: { show: false },
    cursor: { y: look.ruled, drag: { x: Boolean(onSelect), y: false, setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: true, ...(span && { range: () => rangeOf(given.current.span ?? span) }) },
      y: { range: (_self, least, most) => given.current.scale(least, most) },
    },
    axes: [
      {
        ...axis,
        ...(look.ruled ? {} : { grid: { show: false } }),
        ...(look.timeSteps && { incrs: look.timeSteps }),
        space: look.between[0],
        size: 26,
        values: (_self, times, _axis, _space, step) => times.map((time) => look.timeWords(time, step)),
      },
      {
        ...axis,
        ...(valueSteps && { incrs: valueSteps }),
        space: look.between[1],
        size: look.labelWidth,
        values: (_self, values) => values.map((value) => given.current.format(value)),
      },
    ],
    series: [{}, ...lines.map((line) => seriesOf(line, look))],
    hooks: {
      setCursor: [
        ({ cursor: { left, idx } }) => given.current.onHover?.(left !== undefined && left >= 0 ? (idx ?? null) : null),
      ],
      setSelect: [
        (self) => {
          if (self.select.width < 4) return;
          const from = self.posToVal(self.select.left, "x");
          const to = self.posToVal(self.select.left + self.select.width, "x");
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          given.current.onSelect?.(from, to);
        },
      ],
    },
  };
}

function rangeOf({ from, to }: Span): [EpochMs, EpochMs] {
  return [from, to];
}

function seriesOf(line: ChartLine, look: ChartLook): uPlot.Series {
  const stroke = cssColor(line.color);
  const points = { show: false };
  if (line.shape === "bars") {
    return { stroke, fill: stroke, points, paths: uPlot.paths.bars!({ size: [0.9, 6, 2] }) };
  }
  const drawn = { stroke, width: look.lineWidth, points };
  return line.shape === "area" ? { ...drawn, fill: faded(stroke, look.fill) } : drawn;
}

function faded(color: string, opacity: string): string {
  return /^#[0-9a-f]{6}$/i.test(color) ? color + opacity : "transparent";
}
