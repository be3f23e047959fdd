/** The pages beside the dashboard; every address is relative, since the application may be mounted under a prefix. */

import { number, text } from "../protocol/codec.ts";
import { type EpochMs, fromSeconds } from "../time.ts";

export interface Server {
  readonly id: string;
  readonly pid: number | null;
  readonly application: string;
  readonly started: EpochMs | null;
  /** Whether it answered; those that have ended are not in the list. */
  readonly alive: boolean;
  /** Why it did not; null where it did, or nothing is said. */
  readonly problem: string | null;
  /** Bytes; null where the server list does not say. */
  readonly rss: number | null;
  /** Requests that run now; null where not said. */
  readonly requests: number | null;
  readonly sessions: number | null;
  /** The configured name, behind a gateway. */
  readonly name: string | null;
}

export type Access =
  /** `obstacle`: why the web server cannot carry a WebSocket, if it cannot. */
  | { kind: "open"; application: string; servers: readonly Server[]; obstacle: string | null }
  | { kind: "locked" }
  | { kind: "forbidden"; why: string }
  | { kind: "unreachable"; why: string };

type Fetch = typeof fetch;

/** The parameter that names a server, in the socket's address and in the page's. */
const SERVER = "server";

/** Asks for the list of servers, which also tells whether the page is let in. */
export async function listServers(fetcher: Fetch = fetch): Promise<Access> {
  let response: Response;
  try {
    response = await fetcher("servers", { credentials: "same-origin", cache: "no-store" });
  } catch {
    return { kind: "unreachable", why: "The application does not answer." };
  }
  if (response.status === 401) return { kind: "locked" };
  if (response.status === 403) return { kind: "forbidden", why: (await response.text()).trim() };
  if (!response.ok) return { kind: "unreachable", why: (await response.text()).trim() || `status ${response.status}` };
  try {
    return readServers(await response.json());
  } catch {
    return { kind: "unreachable", why: "The list of servers cannot be read; is something else answering here?" };
  }
}

export function readServers(body: unknown): Access {
  const map = body as { application?: unknown; servers?: unknown; obstacle?: unknown };
  if (typeof map !== "object" || map === null || !Array.isArray(map.servers)) throw new Error("no list of servers");
  const servers = map.servers.filter((entry) => typeof entry?.id === "string").map(readServer);
  return { kind: "open", application: text(map.application) ?? "", servers, obstacle: text(map.obstacle) };
}

function readServer(entry: { [key: string]: unknown }): Server {
  return {
    id: entry.id as string,
    pid: number(entry.pid),
    application: text(entry.application) ?? "",
    started: fromSeconds(number(entry.started)),
    alive: entry.alive !== false,
    problem: text(entry.problem),
    rss: number(entry.rss),
    requests: number(entry.requests),
    sessions: number(entry.sessions),
    name: text(entry.name),
  };
}

/** Turns a token into the cookie. Answers whether it was right; throws with words for people if it could not be asked. */
export async function login(token: string, fetcher: Fetch = fetch): Promise<boolean> {
  let response: Response;
  try {
    response = await fetcher("login", {
      method: "POST",
      body: new URLSearchParams({ token }),
      credentials: "same-origin",
    });
  } catch {
    throw new Error("The application does not answer. Is it running?");
  }
  if (response.ok) return true;
  if (response.status === 401) return false;
  throw new Error((await response.text()).trim() || `The application answered with status ${response.status}.`);
}

/** The server that the page's own address names, so that loading it again leads to the same one; null for any. */
export function serverIn(address: string): string | null {
  return new URL(address).searchParams.get(SERVER) || null;
}

/** The page's address with that server; null names none. */
export function addressWith(address: string, server: string | null): string {
  const url = new URL(address);
  if (server === null) url.searchParams.delete(SERVER);
  else url.searchParams.set(SERVER, server);
  return url.href;
}

/**
 * The WebSocket's address: this page's own, since any path of the application will do. It says how frames are wanted,
 * because an application may have text as its default for the sake of older pages.
 */
export function socketAddress(page: string, server: string | null): string {
  const url = new URL(".", page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ ...(server ? { [SERVER]: server } : {}), frames: "binary" }).toString();
  url.hash = "";
  return url.href;
}
