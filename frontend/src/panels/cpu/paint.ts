import { cssColor } from "../../theme.ts";
import { clean, counted } from "../../ui/format.ts";
import type { Graph } from "./model/graph.ts";
import { type Bar, rowsIn } from "./model/layout.ts";
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
  readonly others: string;
  readonly collector: string;
  readonly omitted: string;
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
    others: cssColor("--flame-others"),
    collector: cssColor("--flame-collector"),
    omitted: cssColor("--flame-others"),
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
function fillOf(scene: Picture, bar: Bar, colors: Palette): [string, number] {
  const { graph, search, hits } = scene;
  const { node, members } = bar;
  const frame = graph.frame(node);
  const found = members.length ? hits && members.some((member) => hits[member]) : node > 0 && matches(frame, search);
  if (search && found) return [colors.found, 1];
  if (graph.totalBefore) {
    const change = node === 0 && !members.length ? 0 : graph.change(...(members.length ? members : [node]));
    if (Math.abs(change) < 0.02) return [colors.same, 1];
    return [change > 0 ? colors.more : colors.less, 0.4 + 0.6 * Math.min(1, Math.abs(change) * 1.5)];
  }
  if (members.length) return [colors.others, search ? 0.75 : 1];
  if (search) return [colors.standard, node === 0 ? 1 : 0.75];
  if (node === 0) return [colors.standard, 1];
  return [colors[frame.kind], shade(frame.label)];
}

export function matches(frame: Frame, search: string): boolean {
  return frame.label.toLowerCase().includes(search) || frame.file.toLowerCase().includes(search);
}

/** By node, whether it or anything that is called below it matches. */
export function hitsBelow(graph: Graph, search: string): Uint8Array {
  const hits = new Uint8Array(graph.size);
  const known = new Map<Frame, boolean>();
  for (let node = graph.size - 1; node > 0; node--) {
    if (graph.width(node) <= 0) continue;
    const frame = graph.frame(node);
    let hit = known.get(frame);
    if (hit === undefined) {
      hit = matches(frame, search);
      known.set(frame, hit);
    }
    if (hit) hits[node] = 1;
    if (hits[node]) hits[graph.tree.parent[node]!] = 1;
  }
  return hits;
}

/** What is written on a bar that stands for many. */
export function othersWords(bar: Bar): string {
  return `+ ${counted(bar.members.length, "other")}`;
}

function wordsOf(graph: Graph, bar: Bar): string {
  return bar.others.length ? othersWords(bar) : clean(graph.frame(bar.node).label);
}

/** Neighbours of one kind are told apart by a little more or less of their colour. */
function shade(label: string): number {
  let hash = 0;
  for (let at = 0; at < label.length; at++) hash = (hash * 31 + label.charCodeAt(at)) | 0;
  return 0.78 + ((hash >>> 3) % 23) / 100;
}

export interface Picture {
  readonly graph: Graph;
  readonly bars: readonly Bar[];
  readonly search: string;
  /** Of the search; see hitsBelow(). */
  readonly hits: Uint8Array | null;
}

export interface Scene extends Picture {
  /** The bar that is marked with a frame. */
  readonly selected: Bar | null;
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
    const [color, strength] = fillOf(scene, bar, colors);
    context.globalAlpha = strength;
    context.fillStyle = color;
    context.fillRect(bar.x, y, Math.max(0.5, bar.width - (bar.width > 3 ? 1 : 0)), ROW - 1);
    context.globalAlpha = 1;
    if (bar.others.length) perforate(context, bar, y, colors);
    if (bar.width > 26) {
      const letters = Math.floor((bar.width - 9) / letter);
      const label = wordsOf(graph, bar);
      context.fillStyle = colors.text;
      context.fillText(shortened(label, letters), bar.x + 4, y + ROW / 2, bar.width - 6);
    }
    if (bar === scene.selected) {
      context.strokeStyle = colors.mark;
      context.lineWidth = 2;
      context.strokeRect(bar.x + 1, y + 1, Math.max(1, bar.width - 3), ROW - 3);
    }
  }
}

/** What stands for many has an edge with teeth: below it more is to come. */
function perforate(context: CanvasRenderingContext2D, bar: Bar, y: number, colors: Palette): void {
  context.fillStyle = colors.back;
  for (let x = bar.x + 2; x + 2 <= bar.x + bar.width; x += 5) context.fillRect(x, y + ROW - 4, 2, 3);
}

export function shortened(label: string, letters: number): string {
  if (label.length <= letters) return label;
  return letters > 1 ? label.slice(0, letters - 1) + "…" : "";
}

/** The whole graph as a file of its own. */
export function svgOf(picture: Picture, width: number, colors: Palette): string {
  const { graph, bars } = picture;
  const rows = rowsIn(bars);
  const total = graph.width(0) || 1;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${rows * ROW}" viewBox="0 0 ${width} ${rows * ROW}">`,
    `<rect width="100%" height="100%" fill="${colors.back}"/>`,
    `<g font-family="system-ui, sans-serif" font-size="12" fill="${colors.text}">`,
  ];
  for (const bar of bars) {
    const frame = graph.frame(bar.node);
    const [color, strength] = fillOf(picture, bar, colors);
    const y = bar.row * ROW;
    const nodes = bar.others.length ? bar.members : [bar.node];
    const share = ((nodes.reduce((sum, node) => sum + graph.width(node), 0) / total) * 100).toFixed(1);
    const place = frame.file && !bar.others.length ? ` (${frame.file}:${frame.line})` : "";
    const words = wordsOf(graph, bar);
    const label = shortened(words, Math.floor((bar.width - 8) / 6.8));
    parts.push(
      `<g><title>${escaped(`${words}${clean(place)} ${share}%`)}</title>` +
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
