import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { cssColor, theme } from "../theme.ts";
import { clock } from "./format.ts";
import { usePlot } from "./plot.ts";

export interface Line {
  readonly label: string;
  readonly color: `--${string}`;
  /** Filled down to zero. */
  readonly area?: boolean;
}

// No finer than the labels tell.
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

interface ChartProps {
  /** Said by screen readers; a table twin or a sentence elsewhere has to tell the figures. */
  label: string;
  lines: readonly Line[];
  /** Seconds since the epoch, then a column for each line. */
  data: readonly (readonly (number | null)[])[];
  height: number;
  format: (value: number) => string;
  /** The y axis shows at least this. */
  range?: [number, number];
  /** Called with seconds since the epoch when a stretch has been marked. */
  onSelect?: (from: number, to: number) => void;
}

/** Lines over time. Drag to mark a stretch where `onSelect` is given. */
export function Chart(props: ChartProps) {
  // The plot is made once and draws often: what it calls is what was given last.
  const given = useRef(props);
  given.current = props;
  const dark = theme.value;
  const kind = props.lines.map((line) => line.label + line.color).join();

  const { host, plot } = usePlot(
    props.height,
    [dark, kind],
    (element) => new uPlot(optionsOf(given, element.clientWidth), columns(props.data), element),
  );

  useEffect(() => {
    plot.current?.setData(columns(props.data));
  }, [props.data]);

  return <div class="chart" role="img" aria-label={props.label} ref={host} />;
}

function columns(data: ChartProps["data"]): uPlot.AlignedData {
  return data as unknown as uPlot.AlignedData;
}

function optionsOf(given: { readonly current: ChartProps }, width: number): uPlot.Options {
  const { lines, height, onSelect } = given.current;
  const format = (value: number) => given.current.format(value);
  const axis: uPlot.Axis = {
    stroke: cssColor("--text-soft"),
    grid: { stroke: cssColor("--chart-grid"), width: 1 },
    ticks: { show: false },
    font: "11px sans-serif",
  };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { drag: { x: Boolean(onSelect), y: false, setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: true },
      y: {
        range: (_self, low, high) => {
          const { range } = given.current;
          return range ? [range[0], Math.max(high * 1.05, range[1])] : [low, high];
        },
      },
    },
    axes: [
      {
        ...axis,
        space: 90,
        size: 26,
        incrs: SECONDS,
        values: (_self, values) => values.map((value) => clock(value * 1000)),
      },
      { ...axis, size: 54, space: 24, values: (_self, values) => values.map(format) },
    ],
    series: [
      { value: (_self, value) => (value === null ? "–" : clock(value * 1000)) },
      ...lines.map((line): uPlot.Series => {
        const color = cssColor(line.color);
        return {
          label: line.label,
          stroke: color,
          width: 1.5,
          points: { show: false },
          value: (_self, value) => (value === null ? "–" : format(value)),
          ...(line.area && { fill: color + "30" }),
        };
      }),
    ],
    hooks: {
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
