import { useEffect } from "preact/hooks";
import { clean, count, duration } from "../../ui/format.ts";
import type { Card } from "../panel.ts";
import { ageOf } from "./model/decode.ts";
import type { TaskStore } from "./store.ts";

/** The overview's share: requests that run now, and what held the event loop. */
export function greenletCards(store: TaskStore): Card[] {
  const Requests = () => {
    useEffect(() => store.watch(), []);
    if (!store.link.has("stacks")) return <p class="soft">This server does not tell.</p>;
    const tasks = store.tasks.value;
    if (!tasks) return <p class="soft">{clean(store.problem.value) || "Asking…"}</p>;
    const leftOut = store.leftOut.value;
    const serving = new Set(tasks.filter((task) => task.request && task.kind === "greenlet"));
    const threads = tasks.filter((task) => task.request && task.kind === "thread");
    const requests = serving.size ? [...serving] : threads;
    const ages = requests.map(ageOf).filter((age) => age !== null);
    return (
      <dl class="card-facts">
        <dt>Requests now</dt>
        <dd>
          {leftOut.greenlets + leftOut.threads > 0 && "≥ "}
          {count(requests.length)}
        </dd>
        <dt>Oldest</dt>
        <dd>{ages.length ? duration(Math.max(...ages)) : "–"}</dd>
        <dt>Greenlets</dt>
        <dd>{count(tasks.filter((task) => task.kind === "greenlet").length + leftOut.greenlets)}</dd>
      </dl>
    );
  };
  const Loop = () => {
    useEffect(() => store.watch(), []);
    if (!store.link.has("blocked")) return <p class="soft">This server does not tell.</p>;
    const blocked = store.blocked.value;
    if (!blocked) return <p class="soft">{clean(store.blockedProblem.value) || "Asking…"}</p>;
    const worst = blocked.culprits[0];
    return (
      <dl class="card-facts">
        <dt>Blocked</dt>
        <dd class={blocked.now ? "more" : ""}>{blocked.now ? `now, ${duration(blocked.now.lasts)}` : "not now"}</dd>
        <dt>Blocks so far</dt>
        <dd>{count(blocked.count)}</dd>
        <dt>Longest</dt>
        <dd>{blocked.count ? duration(blocked.longest) : "–"}</dd>
        {worst && (
          <>
            <dt>By</dt>
            <dd class="name">{clean(worst.request || (worst.line?.label ?? "?"))}</dd>
          </>
        )}
      </dl>
    );
  };
  return [
    { title: "Requests", width: 1, order: 15, View: Requests },
    { title: "Event loop", width: 1, order: 30, View: Loop },
  ];
}
