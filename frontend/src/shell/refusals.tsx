import { useSignal } from "@preact/signals";
import type { Door, Hindrance } from "../connection/door.ts";
import type { Link } from "../connection/link.ts";
import { clean } from "../ui/format.ts";

const WHY: { readonly [hindrance in Hindrance]: string } = {
  missing: "There was no token, or its time is over.",
  strange: "What stood behind # in the address was no token=…, so it was not used; it is out of the address bar now.",
  wrong: "This token is not the right one.",
  cookie:
    "The token is right, but the browser has not kept the cookie that stands for it, so this page cannot go on. Allow cookies for this site and enter the token again. If they are allowed: a page of another site may show this one in a frame (open it in a tab of its own), or a proxy takes cookies away.",
};

/** Asks for the token and says where it is to be had. */
export function TokenForm({ link, door }: { link: Link; door: Door }) {
  const token = useSignal("");
  const problem = useSignal("");
  const busy = useSignal(false);

  const submit = async (event: Event) => {
    event.preventDefault();
    busy.value = true;
    problem.value = "";
    try {
      if (await door.enter([token.value.trim()])) link.connection.connect();
    } catch (error) {
      problem.value = (error as Error).message;
    } finally {
      busy.value = false;
    }
  };

  return (
    <main class="gate">
      <div class="box">
        <h1>A token opens this page</h1>
        <p class="soft">Whoever watches a process can read what is in its memory, so the dashboard asks who you are.</p>
        <form onSubmit={submit}>
          <input
            class="field mono"
            type="password"
            autocomplete="off"
            aria-label="Token"
            placeholder="Token"
            required
            value={token.value}
            onInput={(event) => {
              token.value = event.currentTarget.value;
            }}
          />
          <button class="button primary" type="submit" disabled={busy.value}>
            Open
          </button>
        </form>
        <div role="alert">
          <p class={`notice ${problem.value || door.hindrance.value !== "missing" ? "bad" : ""}`}>
            {problem.value || WHY[door.hindrance.value]}
          </p>
        </div>
        <h2>Where to get it</h2>
        <ul class="soft">
          <li>
            The application printed the whole address, token included, on stderr when it started first:{" "}
            <code>rbkit: watch this application at …/#token=…</code>
          </li>
          <li>
            It is kept in the runtime directory (<code>$RBKIT_RUNTIME_DIR</code>, else{" "}
            <code>$XDG_RUNTIME_DIR/rbkit</code> or <code>/tmp/rbkit-&lt;uid&gt;</code>) in a file that ends in{" "}
            <code>.token</code>.
          </li>
          <li>
            If it was set with <code>RBKIT_TOKEN</code> or the option <code>token</code>, it is what was set there.
          </li>
        </ul>
      </div>
    </main>
  );
}

/** The application's own `authorize` said no, or this page's origin is not allowed. */
export function Forbidden({ link, why }: Refusal) {
  return (
    <Refused link={link} title="You may not watch this application" why={why}>
      Sign in to the application if it asks for that, then try again.
    </Refused>
  );
}

/** The web server that the application runs under does not hand its sockets over. */
export function Impossible({ link, why }: Refusal) {
  return (
    <Refused link={link} title="This web server cannot carry the dashboard" why={why}>
      The dashboard needs a WebSocket. Restart the application under a server that can have one, then try again.
    </Refused>
  );
}

interface Refusal {
  link: Link;
  why: string;
}

function Refused({ link, title, why, children }: Refusal & { title: string; children: string }) {
  return (
    <main class="gate">
      <div class="box">
        <h1>{title}</h1>
        <p class="notice bad">{clean(why)}</p>
        <p class="soft">{children}</p>
        <div>
          <button class="button primary" type="button" onClick={() => link.connection.connect()}>
            Try again
          </button>
        </div>
      </div>
    </main>
  );
}
