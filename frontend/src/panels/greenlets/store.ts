/** What runs and waits in the process, asked for while somebody looks; and what blocks its event loop. */

import { batch, type Signal, signal } from "@preact/signals";
import { CommandError } from "../../connection/commandqueue.ts";
import type { Link } from "../../connection/link.ts";
import { type Poll, poll } from "../../connection/poll.ts";
import { type WaitSampling, waitSamplingOf } from "../../connection/waitsampling.ts";
import { text } from "../../protocol/codec.ts";
import {
  type Blocked,
  type LeftOut,
  NONE_LEFT_OUT,
  readBlocked,
  readLeftOut,
  readStacks,
  type Task,
} from "./model/decode.ts";

const PERIOD_MS = 2000;

export class TaskStore {
  readonly tasks: Signal<readonly Task[] | null> = signal(null);
  readonly blocked: Signal<Blocked | null> = signal(null);
  /** What of the process is not among the tasks, in the server's words; empty for nothing. */
  readonly unseen = signal("");
  /** How many there are besides the tasks, which a server lists so many of. */
  readonly leftOut: Signal<LeftOut> = signal(NONE_LEFT_OUT);
  /** Why there is nothing to show; empty when there is. */
  readonly problem = signal("");
  readonly blockedProblem = signal("");
  /** Still, so that one can read. */
  readonly frozen = signal(false);
  readonly waitSampling: WaitSampling;
  #watchers = 0;
  #polling: Poll | null = null;

  constructor(readonly link: Link) {
    this.waitSampling = waitSamplingOf(link);
    link.onConnect(() => {
      this.tasks.value = this.blocked.value = null;
      this.leftOut.value = NONE_LEFT_OUT;
      this.problem.value = this.blockedProblem.value = this.unseen.value = "";
    });
  }

  /** Asks for as long as the caller looks; returns what ends it. */
  watch(): () => void {
    if (!this.#watchers++)
      this.#polling = poll(
        this.link,
        () => PERIOD_MS,
        () => this.#turn(),
      );
    return () => {
      if (!--this.#watchers) this.#polling?.stop();
    };
  }

  async #turn(): Promise<void> {
    if (this.frozen.peek()) return;
    if (this.link.has("stacks")) {
      await this.#asked(this.problem, async () => {
        const answer = await this.link.ask("stacks");
        batch(() => {
          this.tasks.value = readStacks(answer);
          this.leftOut.value = readLeftOut(answer);
          this.unseen.value = text(answer.unseen) ?? "";
        });
      });
    }
    if (this.link.has("blocked")) {
      await this.#asked(this.blockedProblem, async () => {
        this.blocked.value = readBlocked(await this.link.ask("blocked"));
      });
    }
  }

  async #asked(problem: Signal<string>, ask: () => Promise<void>): Promise<void> {
    try {
      await ask();
      problem.value = "";
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      problem.value = error.message;
    }
  }

  /** Asks for samples of waiting requests, or no longer. */
  async setWaitSampling(on: boolean): Promise<void> {
    try {
      await this.waitSampling.set(on);
    } catch (error) {
      this.problem.value = (error as Error).message;
    }
  }
}
