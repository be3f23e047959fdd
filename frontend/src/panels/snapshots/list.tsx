import { useSignal } from "@preact/signals";
import { areStrangers } from "../../heap/heap.ts";
import type { Summary } from "../../heap/service.ts";
import { download, fileName } from "../../ui/download.ts";
import { brief, bytes, clock, counted } from "../../ui/format.ts";
import { lossOf } from "./loss.ts";
import { keysOf, type SnapshotStore } from "./store.ts";

/** The snapshots that are kept, and which two to compare. */
export function SnapshotList({ store }: { store: SnapshotStore }) {
  const list = store.list.value;
  return (
    <aside class="kept" aria-label="Snapshots kept">
      {list.length > 1 && <Compare store={store} />}
      <ul>
        {list.map((summary) => (
          <SnapshotEntry key={summary.key} store={store} summary={summary} />
        ))}
      </ul>
    </aside>
  );
}

function SnapshotEntry({ store, summary }: { store: SnapshotStore; summary: Summary }) {
  const { key, name, facts } = summary;
  const place = store.trail.value[0];
  const current = place !== undefined && keysOf(place).includes(key);
  const lost = lossOf(facts.expected, summary.count);
  const save = async () => {
    const file = await store.save(key);
    if (file) download(fileName(name, ".rbkitheap"), file);
  };
  return (
    <li class={`box ${current ? "current" : ""}`}>
      <input
        class="field name-field"
        aria-label={`Name of ${brief(name)}`}
        value={name}
        onChange={(event) => void store.rename(key, event.currentTarget.value)}
      />
      <p class="soft">
        {counted(summary.count, "object")} · {bytes(summary.size)}
        <br />
        {brief(facts.origin)} · {clock(facts.time)}
      </p>
      {lost && <p class="notice warn">{lost}</p>}
      <div class="toolbar">
        <button class="button small" type="button" onClick={() => store.show({ kind: "classes", key })}>
          Look at it
        </button>
        <button class="button small plain" type="button" onClick={() => void save()}>
          Export
        </button>
        <button
          class="button small plain"
          type="button"
          aria-label={`Forget ${brief(name)}`}
          onClick={() => void store.drop(key)}
        >
          Forget
        </button>
      </div>
    </li>
  );
}

function Compare({ store }: { store: SnapshotStore }) {
  const list = store.list.value;
  const chosenBefore = useSignal<number | null>(null);
  const chosenAfter = useSignal<number | null>(null);
  const there = (key: number | null) => (key !== null && store.find(key) ? key : null);
  const newest = list.at(-1)!;
  // Two of one process tell more than two of different ones.
  const earlier = list.slice(0, -1).filter(({ facts }) => !areStrangers(facts, newest.facts));
  const before = there(chosenBefore.value) ?? (earlier.at(-1) ?? list.at(-2)!).key;
  const after = there(chosenAfter.value) ?? newest.key;
  const several = list.some(({ facts }) => areStrangers(facts, newest.facts));
  const choices = list.map((summary) => (
    <option key={summary.key} value={summary.key}>
      {brief(several ? `${summary.name} · ${summary.facts.origin}` : summary.name)}
    </option>
  ));
  return (
    <form
      class="box compare"
      onSubmit={(event) => {
        event.preventDefault();
        store.show({ kind: "diff", before, after });
      }}
    >
      <label class="labelled">
        From
        <select
          class="field"
          value={before}
          onChange={(event) => {
            chosenBefore.value = Number(event.currentTarget.value);
          }}
        >
          {choices}
        </select>
      </label>
      <label class="labelled">
        To
        <select
          class="field"
          value={after}
          onChange={(event) => {
            chosenAfter.value = Number(event.currentTarget.value);
          }}
        >
          {choices}
        </select>
      </label>
      <button class="button primary" type="submit" disabled={before === after}>
        Compare
      </button>
    </form>
  );
}
