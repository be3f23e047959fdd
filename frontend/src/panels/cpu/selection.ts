import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { EpochMs, Ms, Span } from "../../time.ts";
import {
  busyOver,
  differenceOf,
  type Filter,
  type FunctionRow,
  filtered,
  type Graph,
  type Grouping,
  graphOf,
  rowsOf,
  type Shape,
  type Stretch,
  sum,
  type Weights,
  weigh,
} from "./model/graph.ts";
import type { History } from "./model/history.ts";
import type { Path } from "./model/path.ts";
import type { CpuStore } from "./store.ts";

/** So long back from now, everything, or a stretch marked on the chart. */
export type ShownStretch =
  | { kind: "last"; length: Ms }
  | { kind: "all" }
  | { kind: "marked"; from: EpochMs; to: EpochMs };

/** What the shown window is compared with. */
export type Comparison = { kind: "none" } | { kind: "previous" } | { kind: "pinned" };

/** What is chosen in the panel, and what follows from that and the samples. */
export class CpuSelection {
  readonly window: Signal<ShownStretch> = signal({ kind: "last", length: 60_000 });
  readonly filter: Signal<Omit<Filter, "clock" | "waitingToo">> = signal({
    thread: null,
    request: null,
    busyOnly: true,
  });
  /** With the clock that is looked at, and whether waiting requests are. */
  readonly chosen: ReadonlySignal<Filter>;
  readonly group: Signal<Grouping> = signal("none");
  readonly inverse = signal(false);
  readonly display: Signal<"flame" | "table"> = signal("flame");
  readonly search = signal("");
  readonly comparison: Signal<Comparison> = signal({ kind: "none" });
  readonly focus: Signal<Path> = signal([]);
  /** Up to when is shown while the picture is held; null: the newest. */
  readonly held: Signal<EpochMs | null> = signal(null);
  /** What the pinned window was, in words; null where none is. */
  readonly pinned: Signal<string | null> = signal(null);

  readonly span: ReadonlySignal<Stretch>;
  /** From when to when something is shown: the span, as far as there are samples. */
  readonly stretch: ReadonlySignal<Span>;
  /** What the weights are, in words. */
  readonly unit: ReadonlySignal<string>;
  readonly weights: ReadonlySignal<Weights>;
  readonly before: ReadonlySignal<Weights | null>;
  readonly graph: ReadonlySignal<Graph>;
  /** Callers on top and no groups, whatever is shown: for the table and the files. */
  readonly upright: ReadonlySignal<Graph>;
  readonly rows: ReadonlySignal<readonly FunctionRow[]>;
  readonly timeline: ReadonlySignal<{ at: EpochMs[]; busy: number[] }>;
  readonly requests: ReadonlySignal<readonly string[]>;

  constructor(readonly store: CpuStore) {
    this.chosen = computed(() => ({
      ...this.filter.value,
      clock: store.clock.value,
      waitingToo: store.waitingToo.value,
    }));
    const newest = computed(() => {
      return this.held.value ?? endOf(store.history.value);
    });
    this.span = computed(() => {
      const to = newest.value;
      const window = this.window.value;
      if (window.kind === "all") return "all";
      if (window.kind === "marked") return { from: window.from, to: window.to };
      return { from: to - window.length, to };
    });
    this.stretch = computed(() => {
      const span = this.span.value;
      const [since, until] = [store.numbered.value.history.since ?? 0, newest.value];
      if (span === "all") return { from: since, to: until };
      return { from: Math.max(span.from, since), to: Math.max(since, Math.min(span.to, until)) };
    });
    this.unit = computed(() => {
      const { clock, busyOnly, waitingToo } = this.chosen.value;
      if (!store.timed.value) return "Samples";
      if (clock === "cpu") return "CPU time";
      return `Wall time of threads${busyOnly ? ", idle ones left out" : ""}${waitingToo ? ", and of waiting requests" : ""}`;
    });
    this.weights = computed(() => {
      const history = this.held.value === null ? store.history.value : store.numbered.value.history;
      return weigh(history, this.span.value, this.chosen.value);
    });
    this.before = computed(() => this.#before());
    this.graph = computed(() => this.#graph(this.inverse.value, this.group.value));
    this.upright = computed(() => {
      const same = !this.inverse.value && this.group.value === "none";
      return same ? this.graph.value : this.#graph(false, "none");
    });
    this.rows = computed(() => rowsOf(this.upright.value));
    this.timeline = computed(() => {
      const { coarse, fine } = store.history.value;
      return busyOver([...coarse, ...fine], this.chosen.value);
    });
    this.requests = computed(() => {
      return store.history.value.requests.filter((name) => name !== null).sort();
    });
  }

  hold(on: boolean): void {
    this.held.value = on ? endOf(this.store.history.peek()) : null;
  }

  /** Keeps what is shown now, to be compared with later. */
  pin(words: string): void {
    // By both clocks and of everything, so that the comparison follows whatever is chosen.
    this.store.pin(this.span.value);
    this.pinned.value = words;
    this.comparison.value = { kind: "pinned" };
  }

  unpin(): void {
    this.store.unpin();
    this.pinned.value = null;
    this.comparison.value = { kind: "none" };
  }

  #before(): Weights | null {
    const comparison = this.comparison.value;
    if (comparison.kind === "none") return null;
    const { history } = this.store.numbered.value;
    if (comparison.kind === "pinned") {
      return this.pinned.value && history.pinned ? filtered(history, history.pinned, this.chosen.value) : null;
    }
    const span = this.span.value;
    if (span === "all") return null;
    return weigh(history, { from: 2 * span.from - span.to, to: span.from }, this.chosen.value);
  }

  #graph(inverse: boolean, group: Grouping): Graph {
    const focus = inverse || group !== "none" ? this.focus.value : [];
    const shape: Shape = { inverse, group, threadNames: this.store.threads.value, focus };
    const before = this.before.value;
    const { history } = this.store.numbered.value;
    return before && sum(before) > 0
      ? differenceOf(history, before, this.weights.value, shape)
      : graphOf(history, this.weights.value, shape);
  }
}

function endOf(history: History): EpochMs {
  return history.fine.at(-1)?.until ?? 0;
}
