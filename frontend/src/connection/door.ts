/** The way in: a token, out of the page's address or typed, becomes a cookie that the page itself cannot read. */

import { type Signal, signal } from "@preact/signals";
import { type Access, listServers, login } from "./http.ts";

/** Why the door is shut. */
export type Hindrance =
  /** There was no token. */
  | "missing"
  /** What stood behind # was something else. */
  | "strange"
  | "wrong"
  /** The token was right, but its cookie did not come back. */
  | "cookie";

/** What an address held that does not belong into an address bar. */
export interface FoundToken {
  /** How the token may be meant: percent-encoded, as it is printed, or as it stands. */
  readonly tokens: readonly string[];
  /** Whether something was taken out that was no token. */
  readonly strange: boolean;
  readonly address: string;
}

/**
 * Takes the token out of an address, and any other fragment that may hold one mistyped.
 *
 * @param places fragments that may stay: those that the page itself sets.
 */
export function takeToken(address: string, places: ReadonlySet<string>): FoundToken {
  const url = new URL(address);
  const tokens: string[] = [];
  // No server should see it, but now it is there, and the address bar is read by more people.
  const asked = url.searchParams.get("token");
  if (asked !== null) url.searchParams.delete("token");
  const at = address.indexOf("#");
  const fragment = at < 0 ? "" : address.slice(at + 1);
  const token = /(?:^|&)token=(.*)$/s.exec(fragment)?.[1] ?? null;
  if (fragment && !places.has(fragment)) url.hash = "";
  if (token) tokens.push(decoded(token), token);
  if (asked) tokens.push(asked);
  const strange = token === null && fragment !== "" && !places.has(fragment);
  return {
    tokens: [...new Set(tokens)],
    strange,
    address: asked === null && url.hash ? address : url.href.replace(/#$/, ""),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it has a % of its own
  }
}

export class Door {
  readonly hindrance: Signal<Hindrance> = signal("missing");
  #brought: readonly string[] = [];

  readonly #fetcher: typeof fetch;

  constructor(fetcher: typeof fetch = (...request) => fetch(...request)) {
    this.#fetcher = fetcher;
  }

  /** Keeps what an address held until it can be tried. */
  bring(found: FoundToken): void {
    this.#brought = found.tokens;
    this.hindrance.value = found.strange ? "strange" : "missing";
  }

  /**
   * Tries tokens one after the other; true once the door is open.
   *
   * @throws Error with words for people if the application cannot be asked.
   */
  async enter(tokens: readonly string[]): Promise<boolean> {
    for (const token of tokens) {
      if (!(await login(token, this.#fetcher))) continue;
      const open = (await listServers(this.#fetcher)).kind !== "locked";
      this.hindrance.value = open ? "missing" : "cookie";
      return open;
    }
    this.hindrance.value = "wrong";
    return false;
  }

  /** The list of servers, with whatever token was brought tried before. */
  async list(): Promise<Access> {
    if (this.#brought.length) {
      try {
        await this.enter(this.#brought);
        this.#brought = [];
      } catch {
        // The list says what is wrong, and the token is tried again when the list is asked for again.
      }
    }
    return listServers(this.#fetcher);
  }
}
