import { clean, clock, count, counted, duration } from "../../ui/format.ts";
import { type Culprit, ownFrame } from "./model/decode.ts";
import { About, StackList } from "./stack.tsx";
import type { TaskStore } from "./store.ts";

const MOST_BELOW = 20;

/** Who kept the event loop from all other greenlets. */
export function BlockedLoop({ store }: { store: TaskStore }) {
  const blocked = store.blocked.value;
  return (
    <section class="box" aria-label="Blocked event loop">
      <header>
        <h2>Blocked event loop</h2>
        {blocked && (
          <span class="soft">
            {blocked.count
              ? `${counted(blocked.count, "block")}, ${duration(blocked.total)} in all, longest ${duration(blocked.longest)}`
              : "no block yet"}
            {blocked.since !== null && ` since ${clock(blocked.since)}`}
          </span>
        )}
      </header>
      {blocked?.now && (
        <p class="notice bad inset" role="alert">
          Blocked now for {duration(blocked.now.lasts)} by{" "}
          <strong class="name">{clean(blocked.now.request || ownFrame(blocked.now.stack)?.label || "?")}</strong>
        </p>
      )}
      {store.blockedProblem.value && <p class="inside soft">{clean(store.blockedProblem.value)}</p>}
      {blocked && !blocked.culprits.length && (
        <p class="inside soft">
          No greenlet has kept the loop for {blocked.limit ? duration(blocked.limit) : "long"}. Whatever does (a
          computation, a call that was not patched) makes every other request wait; it is listed here with its stack.
        </p>
      )}
      {blocked && blocked.culprits.length > 0 && (
        <ul class="groups">
          {blocked.culprits.map((one) => (
            <BlockedEntry key={keyOf(one)} culprit={one} />
          ))}
        </ul>
      )}
    </section>
  );
}

// Where the server groups by line the stack is another one with each longer block, and the entry must stay open.
function keyOf({ request, line, inner, stack }: Culprit): string {
  const places = inner.length && line ? [line] : stack;
  return [request, ...places.map((frame) => `${frame.file}:${frame.line}`)].join(" ");
}

function BlockedEntry({ culprit: one }: { culprit: Culprit }) {
  return (
    <li>
      <details>
        <summary>
          <span class="times">{count(one.count)}×</span>
          <About name={one.request || one.line?.label || "outside of requests"} place={one.line} />
          <span class="pill bad">longest {duration(one.longest)}</span>
          <span class="soft age">
            {duration(one.total)} in all{one.last === null ? "" : `, last ${clock(one.last)}`}
          </span>
        </summary>
        {one.inner.length > 1 && <Below culprit={one} />}
        <StackList frames={one.stack} />
      </details>
    </li>
  );
}

/** What the line called, where that was not always the same; the stack beside it is that of the longest block. */
function Below({ culprit: { inner } }: { culprit: Culprit }) {
  return (
    <>
      <p class="soft names">What the line called; below is the whole stack of the longest block.</p>
      <ul class="groups inner">
        {inner.slice(0, MOST_BELOW).map((below) => (
          <li key={below.stack.map((frame) => `${frame.label} ${frame.file}:${frame.line}`).join("\n")}>
            <details>
              <summary>
                <span class="times">{count(below.count)}×</span>
                <About name={below.stack[0]?.label ?? "the line itself"} place={below.stack.at(-1) ?? null} />
                <span class="pill bad">longest {duration(below.longest)}</span>
                <span class="soft age">{duration(below.total)} in all</span>
              </summary>
              <StackList frames={below.stack} />
            </details>
          </li>
        ))}
      </ul>
      {inner.length > MOST_BELOW && <p class="soft names">{count(inner.length - MOST_BELOW)} more were shorter.</p>}
    </>
  );
}
