import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { cssColor, theme } from "../theme.ts";
import { clock } from "./format.ts";
import { usePlot } from "./plot.ts";
import "./timechart.css";

export interface Line {
  readonly label: string;
  readonly color: `--${string}`;
  readonly values: readonly (number | null)[];
  /** Bars for single events, an area for a level, else a line. */
  readonly shape?: "bars" | "area" | "line";
}

interface Props {
  readonly title: string;
  /** Milliseconds since the epoch, rising. */
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** The span shown, in milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
  readonly height?: number;
  /** Whether the scale begins at zero; else it fits the values. */
  readonly fromZero?: boolean;
  /** Whether values are bytes: the axis is divided at powers of two. */
  readonly binary?: boolean;
  /** Whether values are whole things, so that no label of the axis is between two of them. */
  readonly whole?: boolean;
  /** Without the title to be seen, and without a margin: for a card that has both. */
  readonly bare?: boolean;
}

const WHOLE = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Figures over time. The legend shows what is under the pointer, else the last values. */
export function TimeChart({
  title,
  times,
  lines,
  format,
  from,
  to,
  height = 150,
  fromZero = true,
  binary = false,
  whole = false,
  bare = false,
}: Props) {
  const [hovered, setHovered] = useState<number | null>(null);
  const shape = lines.map((line) => `${line.label} ${line.color} ${line.shape}`).join("|");
  const seconds = times.map((time) => time / 1000);
  const data = [seconds, ...lines.map((line) => line.values)] as unknown as uPlot.AlignedData;
  const format_ = useRef(format);
  format_.current = format;
  const range = useRef<[number, number]>([0, 1]);
  range.current = [from / 1000, to / 1000];

  // Made anew when its looks change; data come below.
  const { host, plot } = usePlot(
    height,
    [shape, theme.value, fromZero, binary, whole],
    (element) =>
      new uPlot(
        options(
          element,
          lines,
          height,
          fromZero,
          binary ? POWERS : whole ? WHOLE : null,
          () => range.current,
          (value) => format_.current(value),
          setHovered,
        ),
        data,
        element,
      ),
  );

  useEffect(() => plot.current?.setData(data));

  const at = hovered !== null && hovered < times.length ? hovered : times.length - 1;
  return (
    <figure class={`timechart ${bare ? "bare" : ""}`}>
      <figcaption>
        {!bare && <h3>{title}</h3>}
        <ul>
          {lines.map((line) => (
            <li key={line.label}>
              <span class="swatch" aria-hidden="true" style={{ background: `var(${line.color})` }} />
              {line.label} <strong>{shown(line.values[at], format)}</strong>
            </li>
          ))}
          {hovered !== null && at >= 0 && <li class="soft">{clock(times[at] ?? 0)}</li>}
        </ul>
      </figcaption>
      <div ref={host} role="img" aria-label={`${title}: ${spoken(lines, at, format)}`} />
    </figure>
  );
}

function shown(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? "–" : format(value);
}

function spoken(lines: readonly Line[], at: number, format: (value: number) => string): string {
  return lines.map((line) => `${line.label} ${shown(line.values[at], format)}`).join(", ");
}

function options(
  element: HTMLElement,
  lines: readonly Line[],
  height: number,
  fromZero: boolean,
  steps: number[] | null,
  range: () => [number, number],
  format: (value: number) => string,
  hover: (index: number | null) => void,
): uPlot.Options {
  const soft = cssColor("--text-soft");
  const grid = { stroke: cssColor("--chart-grid"), width: 1 };
  const font = "11px system-ui, sans-serif";
  return {
    width: Math.max(element.clientWidth, 50),
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: () => range() },
      y: { range: (_, least, most) => scale(least, most, fromZero) },
    },
    axes: [
      { stroke: soft, grid: { show: false }, ticks: { show: false }, font, size: 26, space: 70, values: ticks },
      {
        stroke: soft,
        grid,
        ticks: { show: false },
        font,
        size: 62,
        space: 34,
        ...(steps ? { incrs: steps } : {}),
        values: (_, values) => values.map((value) => (value ? format(value) : "0")),
      },
    ],
    series: [
      {},
      ...lines.map((line): uPlot.Series => {
        const stroke = cssColor(line.color);
        const points = { show: false };
        if (line.shape === "bars") {
          return { stroke, fill: stroke, points, paths: uPlot.paths.bars!({ size: [0.9, 6, 2] }) };
        }
        if (line.shape === "area") return { stroke, width: 2, fill: faded(stroke), points };
        return { stroke, width: 2, points };
      }),
    ],
    hooks: {
      setCursor: [
        (plot) => hover(plot.cursor.left !== undefined && plot.cursor.left >= 0 ? (plot.cursor.idx ?? null) : null),
      ],
    },
  };
}

function scale(least: number | null, most: number | null, fromZero: boolean): [number, number] {
  if (least === null || most === null) return [0, 1];
  if (fromZero) return [0, most > 0 ? most * 1.1 : 1];
  const room = Math.max((most - least) * 0.15, Math.abs(most) * 0.005, 1e-9);
  return [Math.max(0, least - room), most + room];
}

const ticks = (_: uPlot, values: number[], __: number, ___: number, step: number): string[] =>
  values.map((value) => clock(value * 1000).slice(0, step < 60 ? 8 : 5));

function faded(color: string): string {
  return /^#[0-9a-f]{6}$/i.test(color) ? `${color}26` : "transparent";
}
