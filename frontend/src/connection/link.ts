import { type Signal, signal } from "@preact/signals";
import type { Answers } from "../protocol/answers.ts";
import type { Unchecked } from "../protocol/codec.ts";
import { type Answer, readBinary, readText } from "../protocol/frames.ts";
import { type Handshake, readHandshake } from "../protocol/handshake.ts";
import { Backoff } from "./backoff.ts";
import { CommandQueue } from "./commandqueue.ts";
import { Connection, type World } from "./connection.ts";
import { type PublicationListener, Publications } from "./publications.ts";

/** What panels talk to: the server at the other end, what it answers and what it publishes. */
export class Link {
  /** How that server is reached; a matter of the page around the panels. */
  readonly connection: Connection;
  /** Clients of this server through this worker, as last told; null when never told. */
  readonly clients: Signal<number | null> = signal(null);

  readonly #commands = new CommandQueue((command) => this.connection.send(command));
  readonly #publications = new Publications();
  /** Publications lost on their way here since the connection was opened. */
  readonly lost = this.#publications.lost;

  constructor(world: World, backoff: Backoff = new Backoff()) {
    const traffic = {
      opening: () => this.#publications.renumber(),
      receive: (data: unknown) => this.#receive(data),
      ended: () => this.#commands.abandon(),
      greet: async () => readHandshake(await this.command("handshake")),
      greeted: () => {
        this.#publications.forgive();
        this.clients.value = null;
      },
    };
    this.connection = new Connection(world, traffic, backoff);
  }

  /** Whether the server can be asked now. Reads a signal: views follow it. */
  get open(): boolean {
    return this.connection.state.value.kind === "open";
  }

  /** What the server says of itself; null before it has, kept while the connection is gone. */
  get handshake(): Signal<Handshake | null> {
    return this.connection.handshake;
  }

  /** Whether the connected server knows this command of ours. Reads a signal: views follow it. */
  has(extension: string): boolean {
    return this.handshake.value?.extensions.has(extension) ?? false;
  }

  /** As CommandQueue.command(). */
  command(command: string): Promise<Answer> {
    return this.#commands.command(command);
  }

  /** As CommandQueue.ask(). */
  ask<Name extends keyof Answers>(name: Name, ...args: (string | number)[]): Promise<Unchecked<Answers[Name]>> {
    return this.#commands.ask(name, ...args);
  }

  /** As CommandQueue.bytes(). */
  bytes(command: string): Promise<Uint8Array> {
    return this.#commands.bytes(command);
  }

  /** Calls with the events of each publication, and with its bytes; returns what ends it. */
  onEvents(listener: PublicationListener): () => void {
    return this.#publications.listen(listener);
  }

  /** Calls after each handshake, the first and those after a reconnect; at once if connected. Returns what ends it. */
  onConnect(listener: (handshake: Handshake) => void): () => void {
    return this.connection.onConnect(listener);
  }

  /** Asks for the handshake again, for what has been switched on since. */
  async refreshHandshake(): Promise<void> {
    const handshake = readHandshake(await this.command("handshake"));
    if (handshake) this.handshake.value = handshake;
  }

  #receive(data: unknown): void {
    const incoming = typeof data === "string" ? readText(data) : readBinary(data as ArrayBuffer);
    switch (incoming.kind) {
      case "answer":
        this.#commands.answered(incoming.bytes);
        break;
      case "publication":
        this.#publications.take(incoming.counter, incoming.events, incoming.bytes);
        break;
      case "clients":
        this.clients.value = incoming.count;
        break;
      case "dropped":
        this.#publications.dropped(incoming.count);
    }
  }
}
