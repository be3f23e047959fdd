import { batch, computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Event, Packed } from "../protocol/codec.ts";
import { isMap, text } from "../protocol/codec.ts";
import { type Answer, readAnswer, readBinary, readText } from "../protocol/frames.ts";
import { type Handshake, readHandshake } from "../protocol/handshake.ts";
import { Backoff } from "./backoff.ts";
import { closeWords } from "./closecodes.ts";
import { type Access, type Server, socketAddress } from "./http.ts";

export type LinkState =
  /** `why`: what it waits for, once that takes long, or why the last attempt failed; empty before. */
  | { kind: "connecting"; why: string }
  | { kind: "open" }
  /** The token is missing or wrong. */
  | { kind: "locked" }
  | { kind: "forbidden"; why: string }
  /** The web server does not hand its sockets over, so there is no use in trying again. */
  | { kind: "impossible"; why: string }
  /** Let go on purpose, since nobody sees the page; `since`: milliseconds since the epoch. */
  | { kind: "resting"; since: number }
  /** `retryAt`: milliseconds since the epoch of the next attempt. */
  | { kind: "waiting"; why: string; retryAt: number };

/** A stretch of time in milliseconds since the epoch. */
export interface Absence {
  readonly from: number;
  readonly to: number;
}

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

export type EventListener = (events: readonly Event[], bytes: Uint8Array) => void;

interface Waiting {
  resolve(answer: Uint8Array): void;
  reject(error: Error): void;
}

/** A step that takes longer is told. */
const SLOW_MS = 3000;

/** What an attempt to connect waits for, in its order. */
const STEPS = {
  list: "The application does not answer yet. It may be busy, blocked or stopped.",
  socket: "The application answers, but the connection does not open. Something in between may not pass WebSockets on.",
  handshake:
    "The connection is open, but the Rbkit server behind it does not answer. It may be busy, blocked or stopped.",
} as const;

/** As long as a server lingers by default after its last client. */
const MISSED_MS = 10_000;

/** What a link needs of the world; tests bring their own. */
export interface World {
  readonly page: string;
  open(address: string): WebSocket;
  servers(): Promise<Access>;
  now(): number;
  later(run: () => void, ms: number): number;
  never(timer: number): void;
}

export const browserWorld = {
  open: (address) => new WebSocket(address, ["rbkit"]),
  now: () => Date.now(),
  later: (run, ms) => window.setTimeout(run, ms),
  never: (timer) => window.clearTimeout(timer),
} satisfies Partial<World>;

/**
 * The one connection of the page: it connects, comes back by itself, pairs answers with commands (they come in the
 * order of the commands) and hands out published events.
 */
export class Link {
  readonly state: Signal<LinkState> = signal({ kind: "connecting", why: "" });
  readonly application = signal("");
  readonly servers: Signal<readonly Server[]> = signal([]);
  /** The id asked for; null is whichever worker takes the connection. */
  readonly server: Signal<string | null> = signal(null);
  readonly handshake: Signal<Handshake | null> = signal(null);
  /** Clients of this server through this worker, as last told; null when never told. */
  readonly clients: Signal<number | null> = signal(null);
  /** Publications lost on their way here since the connection was opened. */
  readonly lost: ReadonlySignal<number>;
  /** Messages that could not be read. */
  readonly unreadable = signal(0);
  /** The worker that was watched, in words, if it has ended and another one has taken its place; else null. */
  readonly replaced: Signal<string | null> = signal(null);
  /** When the page was last not connected because nobody saw it; null when it was not, or the note was read. */
  readonly absence: Signal<Absence | null> = signal(null);
  /** How often the connection has come back. */
  readonly reconnects = signal(0);

  readonly #gaps = signal(0);
  readonly #dropped = signal(0);
  #socket: WebSocket | null = null;
  #waiting: Waiting[] = [];
  #counter: number | null = null;
  #timer: number | null = null;
  #slow: number | null = null;
  #attempt = 0;
  #everOpen = false;
  readonly #eventListeners = new Set<EventListener>();
  readonly #connectListeners = new Set<(handshake: Handshake) => void>();

  readonly #world: World;
  readonly #backoff: Backoff;

  constructor(world: World, backoff: Backoff = new Backoff()) {
    this.#world = world;
    this.#backoff = backoff;
    // A gap counts what the notice tells as well, so they are not added up.
    this.lost = computed(() => Math.max(this.#gaps.value, this.#dropped.value));
  }

  get open(): boolean {
    return this.state.value.kind === "open";
  }

  /** Whether the connected server knows this command of ours. Reads a signal: views follow it. */
  has(extension: string): boolean {
    return this.handshake.value?.extensions.has(extension) ?? false;
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
   * Sends a command whose answer somebody else decodes, a worker say: a refusal is in the bytes, too.
   *
   * @throws Disconnected if the connection ends before the answer.
   */
  bytes(command: string): Promise<Uint8Array> {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Disconnected());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      socket.send(command);
    });
  }

  /**
   * Sends a command whose answer is a map.
   *
   * @throws as command(), and CommandError "unknown_command" if the server answers `ok`, not knowing it.
   */
  async ask(command: string): Promise<Packed> {
    const answer = await this.command(command);
    if (isMap(answer)) return answer;
    throw new CommandError("unknown_command", `This server does not know ${command.split(" ", 1)[0]}.`);
  }

  /** Calls with the events of each publication, and with its bytes; returns what ends it. */
  onEvents(listener: EventListener): () => void {
    this.#eventListeners.add(listener);
    return () => this.#eventListeners.delete(listener);
  }

  /** Calls after each handshake, the first and those after a reconnect; at once if connected. Returns what ends it. */
  onConnect(listener: (handshake: Handshake) => void): () => void {
    this.#connectListeners.add(listener);
    if (this.open && this.handshake.value) listener(this.handshake.value);
    return () => this.#connectListeners.delete(listener);
  }

  /** Connects (again) now; `server` chooses one, null any. */
  connect(server: string | null = this.server.value): void {
    this.#close();
    this.#backoff.reset();
    this.replaced.value = null;
    this.server.value = server;
    void this.#try();
  }

  /** Closes the connection because nobody sees the page; a door that is shut stays as it is. */
  rest(): void {
    const { kind } = this.state.peek();
    if (kind !== "connecting" && kind !== "open" && kind !== "waiting") return;
    this.#close();
    this.state.value = { kind: "resting", since: this.#world.now() };
  }

  /** Connects again to where it was, if it rests. */
  wake(): void {
    const state = this.state.peek();
    if (state.kind !== "resting") return;
    // Less is not missed: the server keeps what was switched on for its next client, and its samples with it.
    const to = this.#world.now();
    if (to - state.since >= MISSED_MS) this.absence.value = { from: state.since, to };
    this.connect();
  }

  /** Asks for the list of servers again. */
  async refreshServers(): Promise<void> {
    const access = await this.#world.servers();
    if (access.kind === "open") this.servers.value = access.servers;
  }

  /** Asks for the handshake again, for what has been switched on since. */
  async refreshHandshake(): Promise<void> {
    const handshake = readHandshake(await this.command("handshake"));
    if (handshake) this.handshake.value = handshake;
  }

  #close(): void {
    this.#attempt++;
    if (this.#timer !== null) this.#world.never(this.#timer);
    this.#timer = null;
    this.#still();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#abandon();
  }

  #abandon(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(new Disconnected());
  }

  async #try(): Promise<void> {
    const attempt = ++this.#attempt;
    const before = this.state.peek();
    this.state.value = { kind: "connecting", why: before.kind === "waiting" ? before.why : "" };
    this.#waitFor("list");
    // A browser does not tell why a WebSocket was refused; the list of servers does.
    const access = await this.#world.servers();
    if (attempt !== this.#attempt) return;
    switch (access.kind) {
      case "locked":
        this.state.value = { kind: "locked" };
        return;
      case "forbidden":
        this.state.value = access;
        return;
      case "unreachable":
        this.#wait(access.why);
        return;
      case "open":
        batch(() => {
          const known = this.servers.peek().find(({ id }) => id === this.server.peek());
          this.application.value = access.application;
          this.servers.value = access.servers;
          const chosen = this.server.value;
          // The worker that was watched is gone: its successor, or any other, is better than nothing.
          if (chosen && !access.servers.some((server) => server.id === chosen)) {
            this.server.value = null;
            this.replaced.value = known ? `pid ${known.pid ?? "?"}` : chosen;
          }
        });
        this.#openSocket(attempt, access.obstacle);
    }
  }

  #openSocket(attempt: number, obstacle: string | null): void {
    const socket = this.#world.open(socketAddress(this.#world.page, this.server.value));
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#counter = null;
    this.#waitFor("socket");
    let opened = false;
    socket.onopen = () => {
      opened = true;
      void this.#greet(attempt);
    };
    socket.onmessage = (message) => this.#receive(message.data);
    socket.onclose = (event) => {
      if (attempt !== this.#attempt) return;
      this.#socket = null;
      this.#abandon();
      // A socket that has opened proves the obstacle wrong: behind a proxy another server may take the upgrades.
      if (obstacle !== null && !opened && !this.#everOpen) this.state.value = { kind: "impossible", why: obstacle };
      else this.#wait(closeWords(event.code, event.reason));
    };
  }

  async #greet(attempt: number): Promise<void> {
    let handshake: Handshake | null;
    this.#waitFor("handshake");
    try {
      handshake = readHandshake(await this.command("handshake"));
    } catch {
      return; // closed again: onclose goes on
    }
    if (attempt !== this.#attempt) return;
    if (!handshake) {
      this.#socket?.close(1000);
      this.#wait("The server's handshake cannot be read; it is no Rbkit server of protocol 2.");
      return;
    }
    this.#still();
    this.#backoff.reset();
    const greeted = handshake;
    batch(() => {
      this.#gaps.value = 0;
      this.#dropped.value = 0;
      this.clients.value = null;
      this.handshake.value = greeted;
      // So that reconnecting finds the same worker, wherever the connection lands.
      const id = greeted.facts.get("server_id");
      if (id && this.servers.value.some((server) => server.id === id)) this.server.value = id;
      if (this.#everOpen) this.reconnects.value++;
      this.#everOpen = true;
      this.state.value = { kind: "open" };
    });
    for (const listener of [...this.#connectListeners]) listener(greeted);
  }

  /** Begins a step; what is told then is that it takes long, if it does. */
  #waitFor(step: keyof typeof STEPS): void {
    this.#still();
    this.#slow = this.#world.later(() => {
      if (this.state.peek().kind === "connecting") this.state.value = { kind: "connecting", why: STEPS[step] };
    }, SLOW_MS);
  }

  #still(): void {
    if (this.#slow !== null) this.#world.never(this.#slow);
    this.#slow = null;
  }

  #wait(why: string): void {
    this.#still();
    const delay = this.#backoff.next();
    this.state.value = { kind: "waiting", why, retryAt: this.#world.now() + delay };
    this.#attempt++;
    this.#timer = this.#world.later(() => void this.#try(), delay);
  }

  #receive(data: unknown): void {
    const incoming = typeof data === "string" ? readText(data) : readBinary(data as ArrayBuffer);
    switch (incoming.kind) {
      case "answer":
        this.#waiting.shift()?.resolve(incoming.bytes);
        break;
      case "publication":
        this.#count(incoming.counter);
        for (const listener of [...this.#eventListeners]) listener(incoming.events, incoming.bytes);
        break;
      case "clients":
        this.clients.value = incoming.count;
        break;
      case "dropped":
        this.#dropped.value = incoming.count;
        break;
      case "unknown":
        this.unreadable.value++;
    }
  }

  #count(counter: number | null): void {
    if (counter === null) return;
    // A counter that goes back is a server that began anew, and no loss.
    if (this.#counter !== null && counter > this.#counter + 1) this.#gaps.value += counter - this.#counter - 1;
    this.#counter = counter;
  }
}
