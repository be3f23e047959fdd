import { useState } from "preact/hooks";
import type { EpochMs } from "../time.ts";
import { Chart, type ChartLine, FIGURE } from "./chart.tsx";
import { clock } from "./format.ts";
import "./timechart.css";

interface TimeChartProps {
  readonly title: string;
  /** Rising. */
  readonly times: readonly EpochMs[];
  readonly lines: readonly ChartLine[];
  readonly format: (value: number) => string;
  /** The span shown. */
  readonly from: EpochMs;
  readonly to: EpochMs;
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
}: TimeChartProps) {
  const [hovered, setHovered] = useState<number | null>(null);
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
      <Chart
        label={`${title}: ${spoken(lines, at, format)}`}
        look={FIGURE}
        height={height}
        times={times}
        lines={lines}
        format={(value) => (value ? format(value) : "0")}
        scale={fromZero ? scaleFromZero : scaleAround}
        valueSteps={binary ? POWERS : whole ? WHOLE : undefined}
        span={{ from, to }}
        onHover={setHovered}
      />
    </figure>
  );
}

function shown(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? "–" : format(value);
}

function spoken(lines: readonly ChartLine[], at: number, format: (value: number) => string): string {
  return lines.map((line) => `${line.label} ${shown(line.values[at], format)}`).join(", ");
}

function scaleFromZero(_least: number | null, most: number | null): [number, number] {
  return [0, most !== null && most > 0 ? most * 1.1 : 1];
}

function scaleAround(least: number | null, most: number | null): [number, number] {
  if (least === null || most === null) return [0, 1];
  const margin = Math.max((most - least) * 0.15, Math.abs(most) * 0.005, 1e-9);
  return [Math.max(0, least - margin), most + margin];
}
