import type { Graph } from "./graph.ts";

/** A bar of the flame graph; lengths are pixels, rows count from the top. */
export interface Bar {
  readonly node: number;
  readonly x: number;
  readonly width: number;
  readonly row: number;
}

export const MAX_ROWS = 400;

/**
 * The bars that can be seen: callers above, callees below. The focused node and those above it take the whole width.
 *
 * @param narrowest bars below this many pixels are left out, and what is below them.
 */
export function layOut(graph: Graph, focus: number, width: number, narrowest = 0.6): Bar[] {
  const bars: Bar[] = [];
  const above: number[] = [];
  for (let at = focus; at > 0; at = graph.tree.parent[at]!) above.push(at);
  above.push(0);
  above.reverse().forEach((node, row) => {
    bars.push({ node, x: 0, width, row });
  });
  const scale = graph.width(focus) > 0 ? width / graph.width(focus) : 0;
  const open: Bar[] = bars.slice(-1);
  while (open.length) {
    const bar = open.pop()!;
    if (bar.row + 1 >= MAX_ROWS) continue;
    let x = bar.x;
    for (const child of graph.children(bar.node)) {
      const wide = graph.width(child) * scale;
      if (wide >= narrowest) {
        const next = { node: child, x, width: wide, row: bar.row + 1 };
        bars.push(next);
        open.push(next);
      }
      x += wide;
    }
  }
  return bars;
}

/** The bar under a point, if any. */
export function barAt(bars: readonly Bar[], x: number, row: number): Bar | null {
  return bars.find((bar) => bar.row === row && x >= bar.x && x < bar.x + bar.width) ?? null;
}

export type Step = "up" | "down" | "left" | "right";

/** The bar that a key leads to from `node`; the same where there is none. */
export function neighbour(bars: readonly Bar[], node: number, step: Step): Bar | null {
  const here = bars.find((bar) => bar.node === node);
  if (!here) return bars[0] ?? null;
  const middle = here.x + here.width / 2;
  if (step === "up" || step === "down") {
    const row = bars.filter((bar) => bar.row === here.row + (step === "up" ? -1 : 1));
    if (step === "up") return row.find((bar) => middle >= bar.x && middle <= bar.x + bar.width) ?? here;
    const below = row.filter((bar) => bar.x >= here.x - 0.01 && bar.x + bar.width <= here.x + here.width + 0.01);
    return below.reduce<Bar | null>((best, bar) => (best && best.width >= bar.width ? best : bar), null) ?? here;
  }
  const row = bars.filter((bar) => bar.row === here.row).sort((a, b) => a.x - b.x);
  return row[row.indexOf(here) + (step === "left" ? -1 : 1)] ?? here;
}
