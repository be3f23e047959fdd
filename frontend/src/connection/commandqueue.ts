import type { Answers } from "../protocol/answers.ts";
import { isMap, text, type Unchecked, uncheckedMap } from "../protocol/codec.ts";
import { type Answer, readAnswer } from "../protocol/frames.ts";

/** A server's refusal of a command, `{"error": code, "message": text}`. */
export class CommandError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The connection ended before the answer came. */
export class Disconnected extends Error {
  constructor() {
    super("The connection ended before the answer came.");
  }
}

interface PendingAnswer {
  resolve(answer: Uint8Array): void;
  reject(error: Error): void;
}

/** Pairs answers with commands: they come in the order of the commands, and nothing else tells which is whose. */
export class CommandQueue {
  readonly #send: (command: string) => boolean;
  #pending: PendingAnswer[] = [];

  /** @param send sends a command; false where nothing is connected. */
  constructor(send: (command: string) => boolean) {
    this.#send = send;
  }

  /**
   * Sends a command.
   *
   * @throws CommandError if the server answers with an error, Disconnected if the connection ends first.
   */
  async command(command: string): Promise<Answer> {
    const answer = readAnswer(await this.bytes(command));
    if (isMap(answer) && typeof answer.error === "string") {
      throw new CommandError(answer.error, text(answer.message) ?? answer.error);
    }
    return answer;
  }

  /**
   * Sends a command of ours, whose answer is a map.
   *
   * @throws as command(), and CommandError "unknown_command" if the server answers `ok`, not knowing it.
   */
  async ask<Name extends keyof Answers>(
    name: Name,
    ...args: readonly (string | number)[]
  ): Promise<Unchecked<Answers[Name]>> {
    const answer = uncheckedMap<Answers[Name]>(await this.command([name, ...args].join(" ")));
    if (answer) return answer;
    throw new CommandError("unknown_command", `This server does not know ${name}.`);
  }

  /**
   * Sends a command whose answer somebody else decodes, a worker say: a refusal is in the bytes, too.
   *
   * @throws Disconnected if the connection ends before the answer.
   */
  bytes(command: string): Promise<Uint8Array> {
    if (!this.#send(command)) return Promise.reject(new Disconnected());
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
    });
  }

  /** An answer has come: it is the oldest command's. */
  answered(bytes: Uint8Array): void {
    this.#pending.shift()?.resolve(bytes);
  }

  /** Fails all that waits for an answer: the connection has ended. */
  abandon(): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const { reject } of pending) reject(new Disconnected());
  }
}
