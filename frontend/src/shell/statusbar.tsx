import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ConnectionState } from "../connection/connection.ts";
import type { Server } from "../connection/http.ts";
import type { Link } from "../connection/link.ts";
import { theme, toggleTheme } from "../theme.ts";
import type { EpochMs } from "../time.ts";
import { brief, bytes, clean, count, counted } from "../ui/format.ts";

const SERVERS_PERIOD_MS = 5000;

/** What is watched, how the connection is, and which worker. */
export function StatusBar({ link }: { link: Link }) {
  useEffect(() => {
    const timer = window.setInterval(() => link.open && void link.connection.refreshServers(), SERVERS_PERIOD_MS);
    return () => window.clearInterval(timer);
  }, [link]);
  const handshake = link.handshake.value;
  return (
    <header class="top">
      <div class="who">
        <strong>{clean(handshake?.processName || link.connection.application.value || "rbkit")}</strong>
        <span>
          {handshake?.pid ? `pid ${handshake.pid}` : "no process yet"}
          {handshake?.directory ? ` · ${clean(handshake.directory)}` : ""}
        </span>
      </div>
      <WorkerChoice link={link} />
      <Losses link={link} />
      <Status link={link} />
      <button
        class="button small"
        type="button"
        aria-label={theme.value === "dark" ? "Light theme" : "Dark theme"}
        title={theme.value === "dark" ? "Light theme" : "Dark theme"}
        onClick={toggleTheme}
      >
        <span aria-hidden="true">{theme.value === "dark" ? "☀" : "☾"}</span>
      </button>
    </header>
  );
}

function WorkerChoice({ link }: { link: Link }) {
  const servers = link.connection.servers.value;
  if (servers.length < 2) return null;
  return (
    <label class="labelled">
      Worker
      <select
        class="field"
        value={link.connection.server.value ?? ""}
        onChange={(event) => link.connection.connect(event.currentTarget.value || null)}
      >
        {link.connection.server.value === null && <option value="">any</option>}
        {servers.map((server) => (
          <option key={server.id} value={server.id}>
            {describe(server)}
          </option>
        ))}
      </select>
    </label>
  );
}

export function describe(server: Server): string {
  const parts = [server.name ? brief(server.name) : null, `pid ${server.pid ?? "?"}`];
  if (server.rss !== null) parts.push(bytes(server.rss));
  if (server.requests !== null) parts.push(`${server.requests} running`);
  if (!server.alive) parts.push("does not answer");
  return parts.filter(Boolean).join(" · ");
}

function Losses({ link }: { link: Link }) {
  const lost = link.lost.value;
  const others = (link.clients.value ?? 1) - 1;
  return (
    <>
      {others > 0 && (
        <span class="pill" title="What is switched on here is switched on for them as well">
          {counted(others, "other client")}
        </span>
      )}
      {lost > 0 && (
        <span class="pill warn" title="Publications that did not arrive: the figures that count them are too low">
          {count(lost)} lost
        </span>
      )}
    </>
  );
}

function Status({ link }: { link: Link }) {
  const state = link.connection.state.value;
  return (
    <>
      <span class={`pill ${tone(state)}`} role="status">
        {words(state)}
        {state.kind === "waiting" && <Countdown until={state.retryAt} />}
      </span>
      {state.kind === "waiting" && (
        <button class="button small" type="button" onClick={() => link.connection.connect()}>
          Now
        </button>
      )}
    </>
  );
}

function tone({ kind }: ConnectionState): string {
  return kind === "open" ? "good" : kind === "connecting" || kind === "resting" ? "warn" : "bad";
}

const WORDS: { readonly [kind in ConnectionState["kind"]]?: string } = {
  open: "Live",
  connecting: "Connecting",
  resting: "Paused",
};

function words({ kind }: ConnectionState): string {
  return WORDS[kind] ?? "Disconnected";
}

// Not read out: a screen reader that counted down would say nothing else.
function Countdown({ until }: { until: EpochMs }) {
  const left = useSignal(0);
  useEffect(() => {
    const tell = () => {
      left.value = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    };
    tell();
    const timer = window.setInterval(tell, 250);
    return () => window.clearInterval(timer);
  }, [until, left]);
  return <span aria-hidden="true">· again in {left.value} s</span>;
}
