import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/shell.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app.tsx";
import { takeToken } from "./connection/door.ts";
import { addressWith, serverIn } from "./connection/http.ts";
import { followPresence } from "./connection/presence.ts";
import { followAddress } from "./route.ts";
import { Root } from "./shell/root.tsx";
import { applyTheme } from "./theme.ts";

applyTheme();
const app = new App();
const places = new Set(["/", ...app.mounted.map(({ module }) => `/${module.id}`)]);

/** Before anything else: a secret is not for the history, nor for a screenshot. */
function clearAddress(): boolean {
  const found = takeToken(location.href, places);
  if (found.address === location.href) return false;
  history.replaceState(null, "", found.address);
  app.door.bring(found);
  return found.tokens.length > 0;
}

clearAddress();
// An address with a token that is put into this page's own bar loads nothing anew.
window.addEventListener("hashchange", () => clearAddress() && app.link.connection.connect());
followAddress();

const host = document.getElementById("app");
if (host) render(<Root app={app} />, host);

function begin(): void {
  app.link.connection.connect(serverIn(location.href));
  // One server is found without its name.
  effect(() => {
    const server = app.link.connection.servers.value.length > 1 ? app.link.connection.server.value : null;
    if (app.link.open) history.replaceState(null, "", addressWith(location.href, server));
  });
  followPresence(app.link.connection, window, document);
}

// A browser that guesses an address loads it beforehand: such a page is no client until it is shown.
if ("prerendering" in document && document.prerendering)
  document.addEventListener("prerenderingchange", begin, { once: true });
else begin();
