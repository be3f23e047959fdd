import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { theme } from "../../theme.ts";
import type { Ms } from "../../time.ts";
import { clean, percent } from "../../ui/format.ts";
import { usePixelRatio } from "../../ui/pixelratio.ts";
import type { Graph } from "./model/graph.ts";
import { type Bar, barAt, barOf, type Direction, find, layOut, neighbour, pathOf, rowsIn } from "./model/layout.ts";
import type { Path } from "./model/path.ts";
import { hitsBelow, othersWords, paint, palette, ROW } from "./paint.ts";

const DIRECTIONS: { readonly [key: string]: Direction } = {
  ArrowUp: "up",
  ArrowDown: "down",
  ArrowLeft: "left",
  ArrowRight: "right",
};

interface FlameProps {
  graph: Graph;
  search: string;
  focus: Signal<Path>;
  /** A weight in words. */
  amount: (weight: Ms) => string;
}

/** A flame graph on a canvas as high as what is seen of it; callers above, callees below. */
export function Flame({ graph, search, focus, amount }: FlameProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSignal({ width: 0, height: 0 });
  const scrolled = useSignal(0);
  const selected = useSignal<Path | null>(null);
  const pointer = useSignal<Pointer | null>(null);

  // All that the picture is made of is read here: what only an effect or a handler reads draws nothing anew. Handlers
  // take these same values, so that what is hit is what is seen.
  const { width, height } = size.value;
  const scroll = scrolled.value;
  const ratio = usePixelRatio();
  const steps = focus.value;
  const focused = useMemo(() => find(graph, steps), [graph, steps]);
  const bars = useMemo(() => layOut(graph, focused, width), [graph, focused, width]);
  const hits = useMemo(() => (search ? hitsBelow(graph, search) : null), [graph, search]);
  const rows = rowsIn(bars);
  const way = selected.value;
  const chosen = useMemo(() => {
    const place = way && find(graph, way);
    return place?.whole ? barOf(bars, place) : null;
  }, [graph, bars, way]);

  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const measure = () => {
      size.value = { width: element.clientWidth, height: element.clientHeight };
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, [size]);

  const dark = theme.value;
  const colors = useMemo(palette, [dark]);
  // Before the browser draws, or for a frame the graph would be where it was.
  useLayoutEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || !width) return;
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(context, { graph, bars, search, hits, selected: chosen, scroll, width, height }, colors);
  }, [graph, bars, search, hits, chosen, scroll, width, height, ratio, colors]);

  const under = ({ x, y }: Pointer): Bar | null => barAt(bars, x, Math.floor((y + scroll) / ROW));
  const select = (bar: Bar) => {
    selected.value = pathOf(graph, bar);
    const element = scroller.current;
    if (!element) return;
    const top = bar.row * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    if (top + ROW > element.scrollTop + height) element.scrollTop = top + ROW - height;
  };
  const key = (event: KeyboardEvent) => {
    const direction = DIRECTIONS[event.key];
    if (direction) {
      const next = neighbour(bars, chosen ?? barOf(bars, focused), direction);
      if (next) select(next);
    } else if (event.key === "Enter" && chosen) {
      focus.value = pathOf(graph, chosen);
    } else if (event.key === "Escape") {
      focus.value = focus.value.slice(0, -1);
    } else {
      return;
    }
    event.preventDefault();
  };
  const at = pointer.value;
  const tip = at && under(at);
  return (
    <div class="flame">
      <div
        class="flame-scroll"
        ref={scroller}
        role="application"
        aria-label="Flame graph. Arrow keys move, Enter focuses, Escape goes back up. The table has the same figures."
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it takes keys
        tabIndex={0}
        onScroll={(event) => {
          scrolled.value = event.currentTarget.scrollTop;
        }}
        onKeyDown={key}
        onMouseMove={(event) => {
          pointer.value = pointerOf(event, canvas.current);
        }}
        onMouseLeave={() => {
          pointer.value = null;
        }}
        onClick={(event) => {
          const bar = under(pointerOf(event, canvas.current));
          if (!bar) return;
          select(bar);
          focus.value = pathOf(graph, bar);
        }}
      >
        <canvas ref={canvas} class="flame-canvas" />
        <div class="flame-space" style={{ height: `${Math.max(0, rows * ROW - height)}px` }} />
      </div>
      <p class="flame-chosen" aria-live="polite">
        {chosen && chosen.row > 0 ? (
          <Words graph={graph} bar={chosen} amount={amount} />
        ) : (
          <span class="soft">Click a bar to focus on it.</span>
        )}
      </p>
      {at && tip && (
        <div class="tooltip" style={besides(at)}>
          <Words graph={graph} bar={tip} amount={amount} />
        </div>
      )}
    </div>
  );
}

/** Where the mouse is: on the canvas, whatever is drawn there meanwhile, and on the page. */
interface Pointer {
  readonly x: number;
  readonly y: number;
  readonly clientX: number;
  readonly clientY: number;
}

function pointerOf({ clientX, clientY }: MouseEvent, canvas: HTMLCanvasElement | null): Pointer {
  const { left, top } = canvas?.getBoundingClientRect() ?? { left: 0, top: 0 };
  return { x: clientX - left, y: clientY - top, clientX, clientY };
}

/** Where the words on a bar stand: at the pointer, and never out of the window; they are at most 520 px wide. */
function besides({ clientX, clientY }: Pointer): { [property: string]: string } {
  const left = Math.max(8, Math.min(clientX + 12, window.innerWidth - 528));
  const lower = clientY > window.innerHeight / 2;
  return {
    left: `${left}px`,
    ...(lower ? { bottom: `${window.innerHeight - clientY + 12}px` } : { top: `${clientY + 18}px` }),
  };
}

function Words({ graph, bar, amount }: { graph: Graph; bar: Bar; amount: FlameProps["amount"] }) {
  const frame = graph.frame(bar.node);
  const others = bar.others.at(-1);
  const all = graph.total[0] || 1;
  const sum = (of: Float64Array) =>
    others ? bar.members.reduce((weight, node) => weight + of[node]!, 0) : (of[bar.node] ?? 0);
  const total = sum(graph.total);
  const own = sum(graph.self);
  return (
    <>
      <strong class="mono">{others ? othersWords(bar) : clean(frame.label)}</strong>{" "}
      {others ? (
        <span class="soft">
          called by <span class="mono">{clean(frame.label)}</span>, none of them above {percent(others.below)}; click to
          look at them
        </span>
      ) : (
        (frame.kind === "omitted" && (
          <span class="soft">left out by the sampler: of a deep stack it keeps both ends</span>
        )) ||
        (frame.kind === "collector" && <span class="soft">began in the function above</span>) ||
        (frame.file && (
          <span class="mono soft">
            {clean(frame.file)}:{frame.line}
          </span>
        ))
      )}{" "}
      <span class="figures">
        total {amount(total)} ({percent(total / all)}) · self {amount(own)} ({percent(own / all)})
        {graph.totalBefore && ` · before ${percent(sum(graph.totalBefore) / (graph.totalBefore[0] || 1))}`}
      </span>
    </>
  );
}
