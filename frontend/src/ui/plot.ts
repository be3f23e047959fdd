import type { RefObject } from "preact";
import { type Inputs, useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";

/** A plot in an element of its own, as wide as that: made anew when `looks` change, gone with the element. */
export function usePlot(
  height: number,
  looks: Inputs,
  make: (element: HTMLElement) => uPlot,
): { host: RefObject<HTMLDivElement | null>; plot: { readonly current: uPlot | null } } {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = make(element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [height, ...looks]);
  return { host, plot };
}
