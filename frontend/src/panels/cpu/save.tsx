import { useSignal } from "@preact/signals";
import { download, fileName } from "../../ui/download.ts";
import { bounded, clock } from "../../ui/format.ts";
import { collapsed, speedscope } from "./model/export.ts";
import { layOut, rowsIn } from "./model/layout.ts";
import { hitsBelow, paint, palette, ROW, svgOf } from "./paint.ts";
import type { CpuSelection } from "./selection.ts";
import { ONE_SAMPLE_MS } from "./store.ts";

const WIDTH = 1600;
/** Browsers draw on no canvas that is higher; an SVG has all rows. */
const HIGHEST = 16_384;

/** Saves what is shown. */
export function Save({ view }: { view: CpuSelection }) {
  const chosen = useSignal("");
  return (
    <select
      class="field"
      aria-label="Save as a file"
      value={chosen.value}
      onChange={(event) => {
        save(view, event.currentTarget.value);
        event.currentTarget.value = "";
      }}
    >
      <option value="">Save…</option>
      <option value="png">Picture (PNG)</option>
      <option value="svg">Picture (SVG)</option>
      <option value="speedscope">speedscope</option>
      <option value="collapsed">Collapsed stacks</option>
    </select>
  );
}

function save(view: CpuSelection, kind: string): void {
  const { link } = view.store;
  const { processName, pid } = link.handshake.value ?? {};
  // So that the number is there behind a name of any length.
  const process = `${bounded(processName || "process", 60)} ${pid ?? ""}`.trim();
  const name = (extension: string) => fileName(`rbkit-cpu-${process}`, extension);
  const { from, to } = view.stretch.value;
  const title = `${view.unit.value}, ${clock(from)} to ${clock(to)}`;
  const search = view.search.value.trim().toLowerCase();
  const graph = view.graph.value;
  const sampleMs = view.store.timed.value ? null : ONE_SAMPLE_MS;
  const bars = layOut(graph, { node: 0, others: [] }, WIDTH, 1);
  const picture = { graph, bars, search, hits: search ? hitsBelow(graph, search) : null };
  if (kind === "svg") download(name(".svg"), svgOf(picture, WIDTH, palette()), "image/svg+xml");
  if (kind === "speedscope") {
    download(
      name(".speedscope.json"),
      speedscope(view.upright.value, `${process}: ${title}`, sampleMs),
      "application/json",
    );
  }
  if (kind === "collapsed") download(name(".collapsed.txt"), collapsed(view.upright.value, sampleMs));
  if (kind === "png") {
    const canvas = document.createElement("canvas");
    canvas.width = WIDTH;
    canvas.height = Math.min(HIGHEST, rowsIn(bars) * ROW);
    const context = canvas.getContext("2d");
    if (!context) return;
    paint(context, { ...picture, selected: null, scroll: 0, width: WIDTH, height: canvas.height }, palette());
    canvas.toBlob((blob) => blob && download(name(".png"), blob));
  }
}
