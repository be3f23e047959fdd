import type { App } from "../app.tsx";
import { Forbidden, Impossible, TokenForm } from "./refusals.tsx";
import { Shell } from "./shell.tsx";

/** The whole page: the door while it is shut, the shell with its panels else. */
export function Root({ app }: { app: App }) {
  const state = app.link.connection.state.value;
  if (state.kind === "locked") return <TokenForm link={app.link} door={app.door} />;
  if (state.kind === "forbidden") return <Forbidden link={app.link} why={state.why} />;
  if (state.kind === "impossible") return <Impossible link={app.link} why={state.why} />;
  return <Shell app={app} />;
}
