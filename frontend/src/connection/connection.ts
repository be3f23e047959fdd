import { batch, type Signal, signal } from "@preact/signals";
import type { Handshake } from "../protocol/handshake.ts";
import type { EpochMs, Ms, Span } from "../time.ts";
import { Backoff } from "./backoff.ts";
import { closeWords } from "./closecodes.ts";
import { type Access, type Server, socketAddress } from "./http.ts";

export type ConnectionState =
  /** `why`: what it waits for, once that takes long, or why the last attempt failed; empty before. */
  | { kind: "connecting"; why: string }
  | { kind: "open" }
  /** The token is missing or wrong. */
  | { kind: "locked" }
  | { kind: "forbidden"; why: string }
  /** The web server does not hand its sockets over, so there is no use in trying again. */
  | { kind: "impossible"; why: string }
  /** Let go on purpose, since nobody sees the page. */
  | { kind: "resting"; since: EpochMs }
  /** `retryAt`: when the next attempt is made. */
  | { kind: "waiting"; why: string; retryAt: EpochMs };

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

/** What a connection needs of the world; tests bring their own. */
export interface World {
  readonly page: string;
  open(address: string): WebSocket;
  servers(): Promise<Access>;
  now(): EpochMs;
  later(run: () => void, delay: Ms): number;
  never(timer: number): void;
}

export const browserWorld = {
  open: (address) => new WebSocket(address, ["rbkit"]),
  now: () => Date.now(),
  later: (run, ms) => window.setTimeout(run, ms),
  never: (timer) => window.clearTimeout(timer),
} satisfies Partial<World>;

/** What goes over a connection: it is told what becomes of that. */
export interface Traffic {
  /** A socket is being opened. */
  opening(): void;
  /** A message has come. */
  receive(data: unknown): void;
  /** The socket is gone, and what was asked has no answer. */
  ended(): void;
  /** Asks who is at the other end; null if that is no Rbkit server. May throw once the socket is gone. */
  greet(): Promise<Handshake | null>;
  /** Who it is: what is told of a server begins anew. */
  greeted(): void;
}

/** The one WebSocket of the page: opened, kept, and opened again by itself, to the same worker where there is one. */
export class Connection {
  readonly state: Signal<ConnectionState> = signal({ kind: "connecting", why: "" });
  readonly application = signal("");
  readonly servers: Signal<readonly Server[]> = signal([]);
  /** The id asked for; null is whichever worker takes the connection. */
  readonly server: Signal<string | null> = signal(null);
  readonly handshake: Signal<Handshake | null> = signal(null);
  /** The worker that was watched, in words, if it has ended and another one has taken its place; else null. */
  readonly replaced: Signal<string | null> = signal(null);
  /** When the page was last not connected because nobody saw it; null when it was not, or the note was read. */
  readonly absence: Signal<Span | null> = signal(null);

  readonly #world: World;
  readonly #traffic: Traffic;
  readonly #backoff: Backoff;
  readonly #listeners = new Set<(handshake: Handshake) => void>();
  #socket: WebSocket | null = null;
  #timer: number | null = null;
  #slow: number | null = null;
  /** Rises with each attempt and each end of one, so that what comes late of an earlier one is known. */
  #attempt = 0;
  #everOpen = false;

  constructor(world: World, traffic: Traffic, backoff: Backoff = new Backoff()) {
    this.#world = world;
    this.#traffic = traffic;
    this.#backoff = backoff;
  }

  /** Calls after each handshake, the first and those after a reconnect; at once if connected. Returns what ends it. */
  onConnect(listener: (handshake: Handshake) => void): () => void {
    this.#listeners.add(listener);
    const handshake = this.handshake.peek();
    if (this.state.peek().kind === "open" && handshake) listener(handshake);
    return () => this.#listeners.delete(listener);
  }

  /** Sends a text message; false if nothing is connected. */
  send(message: string): boolean {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(message);
    return true;
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

  #close(): void {
    this.#attempt++;
    if (this.#timer !== null) this.#world.never(this.#timer);
    this.#timer = null;
    this.#still();
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#traffic.ended();
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
    this.#traffic.opening();
    this.#waitFor("socket");
    let opened = false;
    socket.onopen = () => {
      opened = true;
      void this.#greet(attempt);
    };
    socket.onmessage = (message) => this.#traffic.receive(message.data);
    socket.onclose = (event) => {
      if (attempt !== this.#attempt) return;
      this.#socket = null;
      this.#traffic.ended();
      // A socket that has opened proves the obstacle wrong: behind a proxy another server may take the upgrades.
      if (obstacle !== null && !opened && !this.#everOpen) this.state.value = { kind: "impossible", why: obstacle };
      else this.#wait(closeWords(event.code, event.reason));
    };
  }

  async #greet(attempt: number): Promise<void> {
    let handshake: Handshake | null;
    this.#waitFor("handshake");
    try {
      handshake = await this.#traffic.greet();
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
      this.#traffic.greeted();
      this.handshake.value = greeted;
      // So that reconnecting finds the same worker, wherever the connection lands.
      const id = greeted.facts.get("server_id");
      if (id && this.servers.value.some((server) => server.id === id)) this.server.value = id;
      this.#everOpen = true;
      this.state.value = { kind: "open" };
    });
    for (const listener of [...this.#listeners]) listener(greeted);
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
}
