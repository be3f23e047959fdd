import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { App } from "../app.tsx";
import type { Link } from "../connection/link.ts";
import { Overview } from "../panels/overview/overview.tsx";
import { route } from "../route.ts";
import { brief, clean, clock } from "../ui/format.ts";
import { describe, StatusBar } from "./statusbar.tsx";

const OVERVIEW_ICON = "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z";

/** Navigation, status bar, and the panel that the address names. */
export function Shell({ app }: { app: App }) {
  const main = useRef<HTMLElement>(null);
  const current = app.mounted.find(({ module }) => module.id === route.value);
  const title = current?.module.title ?? "Overview";
  useEffect(() => {
    document.title = `${title} · rbkit`;
  }, [title]);
  return (
    <div class="shell">
      <button class="skip" type="button" onClick={() => main.current?.focus()}>
        Skip to the panel
      </button>
      <nav class="side" aria-label="Panels">
        <div class="brand">
          <img src="icon.svg" alt="" />
          rbkit
        </div>
        <ul>
          <NavigationEntry id="" title="Overview" icon={OVERVIEW_ICON} current={!current} badge={null} />
          {app.mounted.map(({ module, panel }) => (
            <NavigationEntry
              key={module.id}
              id={module.id}
              title={module.title}
              icon={module.icon}
              current={current?.module === module}
              badge={panel.badge?.value ?? null}
            />
          ))}
        </ul>
      </nav>
      <StatusBar link={app.link} />
      <main class="main" id="main" ref={main} tabIndex={-1}>
        <Troubles link={app.link} />
        {current ? <current.panel.View key={current.module.id} /> : <Overview cards={app.cards} />}
      </main>
    </div>
  );
}

/** Why there is no connection, in words; or that it is to another worker now. */
function Troubles({ link }: { link: Link }) {
  const state = link.connection.state.value;
  if (state.kind === "waiting") {
    return (
      <p class="notice bad" role="alert">
        <strong>{clean(state.why)}</strong> What you see is what was last known; the page goes on when the connection is
        back.
      </p>
    );
  }
  if (state.kind === "connecting" && state.why) {
    return (
      <p class="notice warn" role="status">
        {clean(state.why)}
      </p>
    );
  }
  if (state.kind === "resting") {
    return (
      <p class="notice" role="status">
        Nobody saw this page, so it let go of the process; what you see is what was last known.
        <button class="button small" type="button" onClick={() => link.connection.wake()}>
          Go on
        </button>
      </p>
    );
  }
  if (state.kind !== "open") return null;
  const absence = link.connection.absence.value;
  return (
    <>
      <Replaced link={link} />
      {absence && (
        <Note about={link.connection.absence} read={null}>
          {`Nobody saw this page from ${clock(absence.from)} to ${clock(absence.to)}: it was not connected then, and figures of that time may be missing.`}
        </Note>
      )}
    </>
  );
}

const OTHERS_SHOWN = 4;

/** That the worker has ended, which one this is, and which others there are. */
function Replaced({ link }: { link: Link }) {
  const former = link.connection.replaced.value;
  if (former === null) return null;
  const pid = link.handshake.value?.pid;
  const others = link.connection.servers.value
    .filter((server) => server.alive && server.pid !== pid)
    .slice(0, OTHERS_SHOWN);
  return (
    <Note
      about={link.connection.replaced}
      read={null}
      more={others.map((server) => (
        <button class="button small" type="button" key={server.id} onClick={() => link.connection.connect(server.id)}>
          Watch {describe(server)}
        </button>
      ))}
    >
      {`The worker that was watched (${brief(former)}) has ended. This is another one: pid ${pid ?? "?"}.`}
    </Note>
  );
}

interface NoteProps<T> {
  readonly about: Signal<T>;
  /** The value that means it is read. */
  readonly read: T;
  readonly more?: ComponentChildren;
  readonly children: string;
}

/** What happened meanwhile, until it is read. */
function Note<T>({ about, read, more, children }: NoteProps<T>) {
  return (
    <p class="notice warn" role="status">
      {children}
      {more}
      <button
        class="button small"
        type="button"
        onClick={() => {
          about.value = read;
        }}
      >
        All right
      </button>
    </p>
  );
}

interface EntryProps {
  id: string;
  title: string;
  icon: string;
  current: boolean;
  badge: string | null;
}

function NavigationEntry({ id, title, icon, current, badge }: EntryProps) {
  return (
    <li>
      <a href={`#/${id}`} aria-current={current ? "page" : undefined}>
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path d={icon} />
        </svg>
        {title}
        {badge && <span class="badge">{badge}</span>}
      </a>
    </li>
  );
}
