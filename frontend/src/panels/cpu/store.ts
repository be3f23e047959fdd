import { batch, computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Link } from "../../connection/link.ts";
import { poll } from "../../connection/poll.ts";
import { waitSamplingOf } from "../../connection/waitsampling.ts";
import { Observed, type ReadonlyObserved } from "../../observed.ts";
import type { RbkitEvent } from "../../protocol/codec.ts";
import type { Handshake } from "../../protocol/handshake.ts";
import { type Ms, toMicroseconds } from "../../time.ts";
import { counted, duration } from "../../ui/format.ts";
import { type CostOfWatching, type ProfileAnswer, RawSamples, readProfile } from "./model/decode.ts";
import { gather, type Stretch } from "./model/graph.ts";
import { type Clock, type Delta, History } from "./model/history.ts";

const PERIOD_MS = 1000;
/** While nothing is sampled only the switch is looked at: somebody else may start it. */
const IDLE_PERIOD_MS = 3000;
/** What a sample weighs whose server does not tell; only shares and numbers of samples are shown then. */
export const ONE_SAMPLE_MS: Ms = 1;

/** CPU time that watching takes, as shares of one core. */
export interface CostShares {
  readonly all: number;
  readonly server: number;
  readonly sampler: number;
  readonly application: number;
  /** For how long these were measured. */
  readonly over: Ms;
}

const COST_ANSWERS = 10;

/** The CPU profile of the connected server: polled where it has `cpu_profile`, else counted from published samples. */
export class CpuStore {
  readonly #history = new Observed(new History());
  /** What has been sampled. */
  readonly history: ReadonlyObserved<History> = this.#history;
  /**
   * The history for whoever looks at a stretch that is over: another value only when its numbers mean something else,
   * after stacks were forgotten or with another process.
   */
  readonly numbered: Signal<{ readonly history: History }> = signal({ history: this.#history.peek() });
  readonly running = signal(false);
  /** What is looked at: the viewer's choice where the server samples both clocks, else what it samples. */
  readonly clock: Signal<Clock> = signal("cpu");
  /** Whether waiting requests are looked at too, on the wall clock. */
  readonly waitingToo = signal(false);
  /** Whether each sample has its time by both clocks; null before the server has answered. */
  readonly both: Signal<boolean | null> = signal(null);
  /** What a server of one clock samples, and what is published; empty where not said. */
  readonly serverClock = signal("");
  readonly intervalMs: Signal<Ms> = signal(0);
  readonly effectiveIntervalMs: Signal<Ms> = signal(0);
  /** The last answers of what it costs to watch, oldest first. */
  readonly watching: Signal<readonly CostOfWatching[]> = signal([]);
  /** Weight that was sampled but not kept for us. */
  readonly lostMs: Signal<Ms> = signal(0);
  /** What of the process is not sampled at the moment, in the server's words; empty for nothing. */
  readonly unseen = signal("");
  readonly threads: Signal<ReadonlyMap<number, string>> = signal(new Map());
  readonly problem: Signal<string | null> = signal(null);
  readonly busy = signal(false);
  /** Whether weights are time; else all that is known is how many samples there were. */
  readonly timed: ReadonlySignal<boolean>;
  /** The interval that this page asks for. */
  readonly wishMs: Signal<Ms> = signal(1);

  #cursor: number | null = null;
  #raw: RawSamples | null = null;
  #server = "";
  /** What this page asked for: done again when the connection comes back. */
  #wanted = false;

  constructor(readonly link: Link) {
    this.timed = computed(() => link.has("cpu_profile"));
    link.onConnect((handshake) => this.#connected(handshake));
    link.onEvents((events) => this.#take(events));
    poll(
      link,
      () => (this.running.peek() ? PERIOD_MS : IDLE_PERIOD_MS),
      () => this.#turn(),
      (error) => {
        this.problem.value = error.message;
      },
    );
  }

  /** A weight in words: time, or samples where no time is known. */
  amount(weight: Ms): string {
    if (this.timed.value) return duration(weight);
    const samples = Math.round(weight / ONE_SAMPLE_MS);
    return counted(samples, "sample");
  }

  /** What it costs to watch, over the last seconds; null where the server does not tell. */
  get cost(): CostShares | null {
    const [first, last] = [this.watching.value[0], this.watching.value.at(-1)];
    if (!first || !last) return null;
    const whole = last.until <= first.until;
    const spent = (of: (one: CostOfWatching) => Ms) => of(last) - (whole ? 0 : of(first));
    const over = last.until - (whole ? last.since : first.until);
    if (over <= 0) return null;
    const parts = {
      server: spent((one) => one.serverMs) / over,
      sampler: spent((one) => one.samplerMs) / over,
      application: spent((one) => one.applicationMs) / over,
    };
    return { ...parts, all: parts.server + parts.sampler + parts.application, over };
  }

  /** Whether CPU time is known, beside what there is of the other clock. */
  get tellsCpu(): boolean {
    return this.both.value === true || this.serverClock.value !== "wall";
  }

  /** Begins to sample, for everybody who watches this server. */
  async start(): Promise<void> {
    await this.#switch(async () => {
      if (this.both.peek() === null) await this.#turn();
      const both = this.both.peek();
      if (!both) await this.link.command(this.clock.peek() === "wall" ? "use_wall_time" : "use_cpu_time");
      await this.#wish();
      await this.link.command(this.link.has("start_cpu_polling") ? "start_cpu_polling" : "start_cpu_profiling");
      // Then to look at them is a matter of this page alone.
      if (both && this.link.has("wait_profile")) await waitSamplingOf(this.link).set(true);
      this.#wanted = true;
      this.running.value = true;
      if (!both) this.serverClock.value = this.clock.peek();
    });
  }

  async stop(): Promise<void> {
    await this.#switch(async () => {
      this.#wanted = false;
      await this.link.command("stop_cpu_profiling");
      this.running.value = false;
    });
  }

  /** Looks at another clock; a server of one clock is asked for it, for everybody who watches it. */
  async choose(clock: Clock): Promise<void> {
    this.clock.value = clock;
    if (this.both.peek() || !this.running.peek()) return;
    await this.stop();
    await this.start();
  }

  /** Looks at waiting requests too, or no longer. */
  async lookAtWaits(on: boolean): Promise<void> {
    this.waitingToo.value = on;
    const wish = waitSamplingOf(this.link);
    if (on && !wish.wanted.peek()) await this.#switch(() => wish.set(true));
  }

  async setInterval(interval: Ms): Promise<void> {
    this.wishMs.value = interval;
    if (this.running.peek()) await this.#switch(() => this.#wish());
  }

  async #wish(): Promise<void> {
    if (this.link.has("set_cpu_interval"))
      await this.link.command(`set_cpu_interval ${toMicroseconds(this.wishMs.peek())}`);
  }

  /** Forgets what has been sampled, but not what was pinned: a new worker is what one compares with. */
  clear(): void {
    const history = new History();
    history.adopt(this.#history.peek());
    if (this.#raw) this.#raw = this.#rawSamples(history);
    batch(() => {
      this.lostMs.value = 0;
      this.#history.replace(history);
      this.numbered.value = { history };
    });
  }

  /** Keeps what was sampled in a span by both clocks, until unpin(): clear() does not forget it. */
  pin(span: Stretch): void {
    this.#history.change((history) => {
      history.pinned = gather(history, span);
    });
  }

  unpin(): void {
    this.#history.change((history) => {
      history.pinned = null;
    });
  }

  #append(delta: Delta): void {
    batch(() => {
      const history = this.#history.peek();
      const { tree } = history;
      this.#history.change(() => history.add(delta));
      if (history.tree !== tree) this.numbered.value = { history };
    });
  }

  #rawSamples(history: History): RawSamples {
    return new RawSamples(history, ONE_SAMPLE_MS, () => this.serverClock.peek());
  }

  async #switch(work: () => Promise<void>): Promise<void> {
    this.busy.value = true;
    this.problem.value = null;
    try {
      await work();
      await this.#turn();
      await this.link.refreshHandshake();
    } catch (error) {
      this.problem.value = (error as Error).message;
    } finally {
      this.busy.value = false;
    }
  }

  #connected(handshake: Handshake): void {
    const server = handshake.facts.get("server_id") ?? `${handshake.processName} ${handshake.pid}`;
    const polled = handshake.extensions.has("cpu_profile");
    batch(() => {
      this.problem.value = null;
      this.watching.value = [];
      this.running.value = handshake.cpuProfiling;
      this.both.value = polled ? null : false;
      this.#follow(handshake.clock, polled);
      this.intervalMs.value = this.effectiveIntervalMs.value = handshake.interval ?? 0;
      if (server !== this.#server) {
        // Another process: its stacks are not this one's.
        this.#cursor = null;
        this.unseen.value = "";
        this.clear();
      }
    });
    this.#server = server;
    this.#raw = polled ? null : this.#rawSamples(this.#history.peek());
    // Also where it goes on: what this page wished has ended with its connection.
    if (this.#wanted) void this.start();
  }

  /** A server of one clock is looked at by that. */
  #follow(clock: string, both: boolean): void {
    this.serverClock.value = clock;
    if (!both) this.clock.value = clock === "wall" ? "wall" : "cpu";
  }

  #take(events: readonly RbkitEvent[]): void {
    if (!this.#raw) return;
    this.#raw.take(events);
  }

  async #turn(): Promise<void> {
    if (this.#raw) {
      const delta = this.#raw.drain();
      if (delta) {
        this.#append(delta);
        this.running.value = true;
      }
      return;
    }
    const history = this.#history.peek();
    const since = this.#cursor === null ? [] : [this.#cursor];
    const answer = readProfile(await this.link.ask("cpu_profile", ...since), history);
    // Cleared or reconnected meanwhile: the answer belongs to what is gone.
    if (history === this.#history.peek()) this.#add(answer);
  }

  #add(answer: ProfileAnswer): void {
    const first = this.#cursor === null;
    this.#cursor = answer.cursor;
    batch(() => {
      if (!this.busy.peek()) this.running.value = answer.running;
      this.both.value = answer.both;
      if (answer.watching) this.watching.value = [...this.watching.peek(), answer.watching].slice(-COST_ANSWERS);
      if (!this.busy.peek()) this.#follow(answer.clock, answer.both);
      this.unseen.value = answer.unseen;
      this.intervalMs.value = answer.intervalMs;
      this.effectiveIntervalMs.value = answer.effectiveIntervalMs;
      if (!first) this.lostMs.value += answer.lostMs;
      if (answer.threads.size) this.threads.value = merged(this.threads.peek(), answer.threads);
      if (answer.delta) this.#append(answer.delta);
    });
  }
}

function merged(known: ReadonlyMap<number, string>, more: ReadonlyMap<number, string>): ReadonlyMap<number, string> {
  // Identities are used again and again by the system: bounded by dropping the oldest.
  const all = [...new Map([...known, ...more])];
  return new Map(all.slice(-256));
}
