import { cssColor } from "../../theme.ts";
import { clean } from "../../ui/format.ts";
import type { Graph } from "./model/graph.ts";
import type { Bar } from "./model/layout.ts";
import type { Frame } from "./model/tree.ts";

export const ROW = 19;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

/** Colours of the present theme. */
export interface Palette {
  readonly app: string;
  readonly library: string;
  readonly standard: string;
  readonly request: string;
  readonly thread: string;
  readonly found: string;
  readonly text: string;
  readonly more: string;
  readonly less: string;
  readonly same: string;
  readonly back: string;
  readonly mark: string;
}

export function palette(): Palette {
  return {
    app: cssColor("--flame-app"),
    library: cssColor("--flame-library"),
    standard: cssColor("--flame-standard"),
    request: cssColor("--flame-request"),
    thread: cssColor("--flame-request"),
    found: cssColor("--flame-found"),
    text: cssColor("--flame-text"),
    more: cssColor("--flame-more"),
    less: cssColor("--flame-less"),
    same: cssColor("--flame-same"),
    back: cssColor("--surface"),
    mark: cssColor("--text"),
  };
}

/** How a bar is filled: a colour, and how strongly it covers the background (0 to 1). */
export function fillOf(graph: Graph, node: number, search: string, colors: Palette): [string, number] {
  const frame = graph.frame(node);
  if (search && node > 0 && matches(frame, search)) return [colors.found, 1];
  if (graph.totalBefore) {
    const change = node === 0 ? 0 : graph.change(node);
    if (Math.abs(change) < 0.02) return [colors.same, 1];
    return [change > 0 ? colors.more : colors.less, 0.4 + 0.6 * Math.min(1, Math.abs(change) * 1.5)];
  }
  if (search) return [colors.standard, node === 0 ? 1 : 0.75];
  if (node === 0) return [colors.standard, 1];
  return [colors[frame.kind], shade(frame.label)];
}

export function matches(frame: Frame, search: string): boolean {
  return frame.label.toLowerCase().includes(search) || frame.file.toLowerCase().includes(search);
}

/** Neighbours of one kind are told apart by a little more or less of their colour. */
function shade(label: string): number {
  let hash = 0;
  for (let at = 0; at < label.length; at++) hash = (hash * 31 + label.charCodeAt(at)) | 0;
  return 0.78 + ((hash >>> 3) % 23) / 100;
}

export interface Scene {
  readonly graph: Graph;
  readonly bars: readonly Bar[];
  readonly search: string;
  /** The node that is marked with a frame, or -1. */
  readonly selected: number;
  /** Rows above the first one drawn, in pixels. */
  readonly scroll: number;
  readonly width: number;
  readonly height: number;
}

/** Draws what lies between `scroll` and `scroll + height`. */
export function paint(context: CanvasRenderingContext2D, scene: Scene, colors: Palette): void {
  const { graph, bars, width, height, scroll } = scene;
  context.fillStyle = colors.back;
  context.fillRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = "middle";
  const letter = context.measureText("abcdefghijklmnopqrstuvwxyz_.").width / 28;
  for (const bar of bars) {
    const y = bar.row * ROW - scroll;
    if (y > height || y + ROW < 0) continue;
    const [color, strength] = fillOf(graph, bar.node, scene.search, colors);
    context.globalAlpha = strength;
    context.fillStyle = color;
    context.fillRect(bar.x, y, Math.max(0.5, bar.width - (bar.width > 3 ? 1 : 0)), ROW - 1);
    context.globalAlpha = 1;
    if (bar.width > 26) {
      const room = Math.floor((bar.width - 9) / letter);
      const label = clean(graph.frame(bar.node).label);
      context.fillStyle = colors.text;
      context.fillText(shortened(label, room), bar.x + 4, y + ROW / 2, bar.width - 6);
    }
    if (bar.node === scene.selected) {
      context.strokeStyle = colors.mark;
      context.lineWidth = 2;
      context.strokeRect(bar.x + 1, y + 1, Math.max(1, bar.width - 3), ROW - 3);
    }
  }
}

export function shortened(label: string, room: number): string {
  if (label.length <= room) return label;
  return room > 1 ? label.slice(0, room - 1) + "…" : "";
}

/** The whole graph as a file of its own. */
export function svgOf(graph: Graph, bars: readonly Bar[], width: number, search: string, colors: Palette): string {
  const rows = bars.reduce((most, bar) => Math.max(most, bar.row), 0) + 1;
  const total = graph.width(0) || 1;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${rows * ROW}" viewBox="0 0 ${width} ${rows * ROW}">`,
    `<rect width="100%" height="100%" fill="${colors.back}"/>`,
    `<g font-family="system-ui, sans-serif" font-size="12" fill="${colors.text}">`,
  ];
  for (const bar of bars) {
    const frame = graph.frame(bar.node);
    const [color, strength] = fillOf(graph, bar.node, search, colors);
    const y = bar.row * ROW;
    const share = ((graph.width(bar.node) / total) * 100).toFixed(1);
    const place = frame.file ? ` (${frame.file}:${frame.line})` : "";
    const label = shortened(clean(frame.label), Math.floor((bar.width - 8) / 6.8));
    parts.push(
      `<g><title>${escaped(`${clean(frame.label)}${clean(place)} ${share}%`)}</title>` +
        `<rect x="${bar.x.toFixed(1)}" y="${y}" width="${Math.max(0.5, bar.width - 0.8).toFixed(1)}" ` +
        `height="${ROW - 1}" fill="${color}" fill-opacity="${strength.toFixed(2)}"/>` +
        (label && bar.width > 26 ? `<text x="${(bar.x + 4).toFixed(1)}" y="${y + 13}">${escaped(label)}</text>` : "") +
        "</g>",
    );
  }
  return parts.join("\n") + "\n</g></svg>\n";
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
