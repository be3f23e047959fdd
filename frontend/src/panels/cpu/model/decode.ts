import type { CpuProfileAnswer, SampledStack, WatchingCost } from "../../../protocol/answers.ts";
import {
  isMap,
  number,
  type Packed,
  text,
  type Unchecked,
  uncheckedMap,
  uncheckedMaps,
} from "../../../protocol/codec.ts";
import { EventType, Field } from "../../../protocol/constants.ts";
import { type EpochMs, fromMicroseconds, type Ms } from "../../../time.ts";
import { bounded } from "../../../ui/format.ts";
import type { Delta, History, WeighedStack, Weight } from "./history.ts";

/** Of a function's, file's or request's name so much is kept: a hostile one must not fill this page's memory. */
const LONGEST = 1000;

function name(value: unknown): string | null {
  const words = text(value);
  return words && bounded(words, LONGEST);
}

/** What it has cost to watch, in CPU time from `since` to `until`. */
export interface CostOfWatching {
  readonly since: EpochMs;
  readonly until: EpochMs;
  readonly serverMs: Ms;
  readonly samplerMs: Ms;
  readonly applicationMs: Ms;
}

/** A span that the server tells in microseconds. */
function span(us: unknown): Ms {
  return fromMicroseconds(number(us) ?? 0);
}

function watchingOf(value: unknown): CostOfWatching | null {
  const cost = uncheckedMap<WatchingCost>(value);
  if (!cost) return null;
  return {
    since: number(cost.since) ?? 0,
    until: number(cost.until) ?? 0,
    serverMs: span(cost.server_us),
    samplerMs: span(cost.sampler_us),
    applicationMs: span(cost.application_us),
  };
}

/** The state that comes with each answer of `cpu_profile`. */
export interface ProfileAnswer {
  readonly cursor: number;
  readonly running: boolean;
  /** Whether each stack has its time by both clocks; else it has that by `clock`. */
  readonly both: boolean;
  readonly clock: string;
  readonly intervalMs: Ms;
  readonly effectiveIntervalMs: Ms;
  readonly lostMs: Ms;
  /** What of the process is not sampled, in the server's words; empty for nothing. */
  readonly unseen: string;
  /** null where the server does not tell. */
  readonly watching: CostOfWatching | null;
  readonly threads: ReadonlyMap<number, string>;
  /** null where nothing has been sampled since the cursor. */
  readonly delta: Delta | null;
}

/** Reads an answer of `cpu_profile`; its frames are entered in the history's table. */
export function readProfile(answer: Unchecked<CpuProfileAnswer>, history: History): ProfileAnswer {
  const frames = list(answer.frames).map((entry) => {
    const [, label, file, firstLine] = list(entry);
    return history.table.number(name(label) ?? "?", name(file) ?? "", number(firstLine) ?? 0);
  });
  const both = number(answer.wall_us) !== null;
  const clock = text(answer.clock) ?? "";
  const stacks: WeighedStack[] = [];
  for (const entry of uncheckedMaps<SampledStack>(answer.stacks)) {
    const indices = list(entry.frames).map((index) => frames[number(index) ?? -1]);
    stacks.push({
      frames: indices.filter((frame) => frame !== undefined).reverse(),
      ...(both ? { wallMs: span(entry.wall_us), cpuMs: span(entry.cpu_us) } : byClock(clock, span(entry.weight_us))),
      waiting: entry.waiting === true,
      thread: number(entry.thread) ?? 0,
      request: name(entry.request),
    });
  }
  const threads = new Map<number, string>();
  for (const [identity, words] of Object.entries(isMap(answer.threads) ? answer.threads : {})) {
    threads.set(Number(identity), name(words) ?? "");
  }
  const samples = number(answer.samples) ?? 0;
  const since = number(answer.since) ?? 0;
  return {
    cursor: number(answer.cursor) ?? 0,
    running: answer.running === true,
    both,
    clock,
    intervalMs: span(answer.interval_us),
    effectiveIntervalMs: span(answer.effective_interval_us),
    lostMs: span(answer.lost_us),
    unseen: name(answer.unseen) ?? "",
    watching: watchingOf(answer.watching),
    threads,
    delta: stacks.length ? { since, until: number(answer.until) ?? since, samples, stacks } : null,
  };
}

/** A weight of a server that samples by one clock. */
function byClock(clock: string, spent: Ms): Weight {
  return clock === "wall" ? { wallMs: spent, cpuMs: 0 } : { wallMs: 0, cpuMs: spent };
}

/** Counts published `cpu_sample` events, for servers without `cpu_profile`. */
export class RawSamples {
  readonly #history: History;
  readonly #intervalMs: Ms;
  readonly #clock: () => string;
  #stacks: WeighedStack[] = [];
  #since = 0;
  #until = 0;

  /**
   * @param intervalMs what a sample is worth.
   * @param clock "cpu" or "wall", by which they are taken.
   */
  constructor(history: History, intervalMs: Ms, clock: () => string) {
    this.#history = history;
    this.#intervalMs = intervalMs;
    this.#clock = clock;
  }

  take(events: readonly Packed[]): void {
    for (const event of events) {
      if (event[Field.type] !== EventType.cpuSample) continue;
      const stack = this.#read(list(event[Field.payload]));
      if (!stack) continue;
      const at = number(event[Field.timestamp]) ?? 0;
      if (!this.#stacks.length) this.#since = this.#until && this.#until <= at ? this.#until : at;
      this.#until = Math.max(this.#until, at);
      this.#stacks.push(stack);
    }
  }

  /** What has come since the last call. */
  drain(): Delta | null {
    const stacks = this.#stacks;
    if (!stacks.length) return null;
    this.#stacks = [];
    return { since: this.#since, until: this.#until, samples: stacks.length, stacks };
  }

  #read(payload: readonly unknown[]): WeighedStack | null {
    const frames = payload.filter(isMap);
    const outermost = frames.at(-1);
    if (!outermost) return null;
    // Where a request is known its name stands as the outermost frame, without a file.
    const named = frames.length > 1 && !text(outermost[Field.file]) && number(outermost[Field.line]) === 0;
    const numbers = (named ? frames.slice(0, -1) : frames).map((frame) =>
      this.#history.table.number(
        name(frame[Field.label]) ?? name(frame[Field.methodName]) ?? "?",
        name(frame[Field.file]) ?? "",
        number(frame[Field.line]) ?? 0,
      ),
    );
    return {
      frames: numbers.reverse(),
      ...byClock(this.#clock(), this.#intervalMs),
      waiting: false,
      thread: number(outermost[Field.thread]) ?? 0,
      request: named ? name(outermost[Field.label]) : null,
    };
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
