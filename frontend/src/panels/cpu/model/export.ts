import { type Ms, toMicroseconds } from "../../../time.ts";
import type { Graph } from "./graph.ts";

/**
 * One line a stack, callers first, `a;b;c weight`: what flamegraph.pl and others read.
 *
 * @param sampleMs what stands for one sample where no time is known: numbers of samples are written then, not
 *   microseconds. So in speedscope().
 */
export function collapsed(graph: Graph, sampleMs: Ms | null = null): string {
  const lines: string[] = [];
  forStacks(graph, (frames, weight) => {
    lines.push(`${frames.map((name) => name.replace(/[;\r\n]/g, ":")).join(";")} ${written(weight, sampleMs)}`);
  });
  return lines.join("\n") + "\n";
}

/** A file for speedscope (https://www.speedscope.app/file-format-schema.json). */
export function speedscope(graph: Graph, name: string, sampleMs: Ms | null = null): string {
  const frames: { name: string; file?: string; line?: number }[] = [];
  const numbers = new Map<number, number>();
  const samples: number[][] = [];
  const weights: number[] = [];
  forNodes(graph, (path, weight) => {
    samples.push(
      path.map((frame) => {
        let known = numbers.get(frame);
        if (known === undefined) {
          const { label, file, line } = graph.table.frames[frame]!;
          known = frames.push({ name: label, ...(file && { file }), ...(line && { line }) }) - 1;
          numbers.set(frame, known);
        }
        return known;
      }),
    );
    weights.push(written(weight, sampleMs));
  });
  const unit = sampleMs === null ? "microseconds" : "none";
  const endValue = weights.reduce((sum, weight) => sum + weight, 0);
  return JSON.stringify({
    $schema: "https://www.speedscope.app/file-format-schema.json",
    exporter: "rbkit_websocket",
    name,
    shared: { frames },
    profiles: [{ type: "sampled", name, unit, startValue: 0, endValue, samples, weights }],
  });
}

function forNodes(graph: Graph, visit: (path: number[], weight: number) => void): void {
  for (let node = 1; node < graph.size; node++) {
    if (graph.self[node]! > 0) visit(graph.tree.path(node), graph.self[node]!);
  }
}

function forStacks(graph: Graph, visit: (frames: string[], weight: number) => void): void {
  forNodes(graph, (path, weight) => {
    visit(
      path.map((frame) => graph.table.frames[frame]!.label),
      weight,
    );
  });
}

function written(weight: Ms, sampleMs: Ms | null): number {
  return sampleMs === null ? toMicroseconds(weight) : Math.round(weight / sampleMs);
}
