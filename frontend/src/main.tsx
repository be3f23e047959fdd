import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/shell.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app.tsx";
import { addressWith, login, serverIn, tokenOf } from "./connection/http.ts";
import { followPresence } from "./connection/presence.ts";
import { followAddress } from "./route.ts";
import { Root } from "./shell/root.tsx";
import { applyTheme } from "./theme.ts";

applyTheme();
const { token, address } = tokenOf(location.href);
// Before anything else: not in the history, not in a screenshot.
if (token !== null) history.replaceState(null, "", address);
followAddress();

const app = new App();
const host = document.getElementById("app");
if (host) render(<Root app={app} />, host);

async function begin(): Promise<void> {
  if (token) {
    try {
      await login(token);
    } catch {
      // The link says what is wrong, and tries again.
    }
  }
  app.link.connect(serverIn(location.href));
  // One server is found without its name.
  effect(() => {
    const server = app.link.servers.value.length > 1 ? app.link.server.value : null;
    if (app.link.open) history.replaceState(null, "", addressWith(location.href, server));
  });
  followPresence(app.link, window, document);
}

// A browser that guesses an address loads it beforehand: such a page is no client until it is shown.
if ("prerendering" in document && document.prerendering)
  document.addEventListener("prerenderingchange", () => void begin(), { once: true });
else void begin();
