import type { CpuProfileAnswer, SampledStack, WatchingCost } from "../../../protocol/answers.ts";
import { isMap, number, type Packed, text, type Unchecked } from "../../../protocol/codec.ts";
import { EventType, Field } from "../../../protocol/constants.ts";
import { bounded } from "../../../ui/format.ts";
import type { Delta, History, Stack, Weight } from "./history.ts";

/** Of a function's, file's or request's name so much is kept: a hostile one must not fill this page's memory. */
const LONGEST = 1000;

function name(value: unknown): string | null {
  const words = text(value);
  return words && bounded(words, LONGEST);
}

/** What it has cost to watch, in microseconds of CPU time from `since` to `until` (wall-clock milliseconds). */
export interface Watching {
  readonly since: number;
  readonly until: number;
  readonly serverUs: number;
  readonly samplerUs: number;
  readonly applicationUs: number;
}

function watchingOf(value: unknown): Watching | null {
  if (!isMap(value)) return null;
  const cost: Unchecked<WatchingCost> = value;
  return {
    since: number(cost.since) ?? 0,
    until: number(cost.until) ?? 0,
    serverUs: number(cost.server_us) ?? 0,
    samplerUs: number(cost.sampler_us) ?? 0,
    applicationUs: number(cost.application_us) ?? 0,
  };
}

/** The state that comes with each answer of `cpu_profile`. */
export interface ProfileAnswer {
  readonly cursor: number;
  readonly running: boolean;
  /** Whether each stack has its time by both clocks; else it has that by `clock`. */
  readonly both: boolean;
  readonly clock: string;
  readonly intervalUs: number;
  readonly effectiveIntervalUs: number;
  readonly lostUs: number;
  /** What of the process is not sampled, in the server's words; empty for nothing. */
  readonly unseen: string;
  /** null where the server does not tell. */
  readonly watching: Watching | null;
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
  const stacks: Stack[] = [];
  for (const sampled of list(answer.stacks)) {
    if (!isMap(sampled)) continue;
    const entry: Unchecked<SampledStack> = sampled;
    const indices = list(entry.frames).map((index) => frames[number(index) ?? -1]);
    stacks.push({
      frames: indices.filter((frame) => frame !== undefined).reverse(),
      ...(both
        ? { wallUs: number(entry.wall_us) ?? 0, cpuUs: number(entry.cpu_us) ?? 0 }
        : byClock(clock, number(entry.weight_us) ?? 0)),
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
    intervalUs: number(answer.interval_us) ?? 0,
    effectiveIntervalUs: number(answer.effective_interval_us) ?? 0,
    lostUs: number(answer.lost_us) ?? 0,
    unseen: name(answer.unseen) ?? "",
    watching: watchingOf(answer.watching),
    threads,
    delta: stacks.length ? { since, until: number(answer.until) ?? since, samples, stacks } : null,
  };
}

/** A weight of a server that samples by one clock. */
function byClock(clock: string, us: number): Weight {
  return clock === "wall" ? { wallUs: us, cpuUs: 0 } : { wallUs: 0, cpuUs: us };
}

/** Counts published `cpu_sample` events, for servers without `cpu_profile`. */
export class RawSamples {
  readonly #history: History;
  readonly #intervalUs: number;
  readonly #clock: () => string;
  #stacks: Stack[] = [];
  #since = 0;
  #until = 0;

  /**
   * @param intervalUs what a sample is worth.
   * @param clock "cpu" or "wall", by which they are taken.
   */
  constructor(history: History, intervalUs: number, clock: () => string) {
    this.#history = history;
    this.#intervalUs = intervalUs;
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

  #read(payload: readonly unknown[]): Stack | null {
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
      ...byClock(this.#clock(), this.#intervalUs),
      waiting: false,
      thread: number(outermost[Field.thread]) ?? 0,
      request: named ? name(outermost[Field.label]) : null,
    };
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
