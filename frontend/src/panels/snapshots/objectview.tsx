import type { ComponentChildren } from "preact";
import type { ObjectOrder, ObjectRow } from "../../heap/analysis.ts";
import { brief, bytes, clean, count } from "../../ui/format.ts";
import { useAnswer } from "../../ui/useanswer.ts";
import { useListing } from "./listing.ts";
import { address, ObjectLink, ObjectTable, placeWords, rootWords } from "./objecttable.tsx";
import type { SnapshotStore, TrailStep } from "./store.ts";

interface ObjectViewProps {
  readonly store: SnapshotStore;
  readonly place: Extract<TrailStep, { kind: "object" }>;
}

/** One object: why it is alive, who refers to it, what it refers to. */
export function ObjectView({ store, place }: ObjectViewProps) {
  const { key, index } = place;
  const summary = store.find(key);
  const path = useAnswer(() => store.heaps.path(key, index), [key, index, summary]);
  const object = path.answer?.at(-1);
  return (
    <>
      <section class="box" aria-label="What keeps it alive">
        <header>
          <h2>What keeps it alive</h2>
          <span class="soft">the shortest path from a root</span>
        </header>
        {path.error && <p class="notice bad inset">{clean(path.error)}</p>}
        {!path.answer && !path.error && <p class="empty">Looking for roots…</p>}
        {path.answer && <Chain store={store} snapshot={key} rows={path.answer} />}
      </section>
      {object && <ObjectFigures store={store} snapshot={key} object={object} />}
      {summary?.retained && <DominatorChain store={store} snapshot={key} index={index} />}
      <div class="charts">
        <Neighbours store={store} snapshot={key} index={index} direction="referrers" />
        <Neighbours store={store} snapshot={key} index={index} direction="references" />
      </div>
    </>
  );
}

const LONGEST_CHAIN = 60;

/** Objects one below the other, each referring to the next. */
function Chain({ store, snapshot, rows }: { store: SnapshotStore; snapshot: number; rows: readonly ObjectRow[] }) {
  const whole = rows.length <= LONGEST_CHAIN;
  const shown = whole ? rows : [...rows.slice(0, LONGEST_CHAIN / 2), ...rows.slice(-LONGEST_CHAIN / 2)];
  return (
    <ol class="chain">
      {shown.map((row, step) => (
        <li key={row.index}>
          {!whole && step === LONGEST_CHAIN / 2 && (
            <span class="soft">… {count(rows.length - LONGEST_CHAIN)} more …</span>
          )}
          {row === rows.at(-1) ? (
            <strong class="mono name">
              {brief(row.name)} {address(row.id)}
            </strong>
          ) : (
            <ObjectLink store={store} snapshot={snapshot} row={row} />
          )}
          <span class="soft">
            {[
              placeWords(row.file, row.line),
              bytes(row.retained ?? row.size) + (row.retained === null ? "" : " retained"),
              rootWords(row.root),
            ]
              .filter(Boolean)
              .join(" · ")}
          </span>
        </li>
      ))}
    </ol>
  );
}

function ObjectFigures({ store, snapshot, object }: { store: SnapshotStore; snapshot: number; object: ObjectRow }) {
  const find = (
    <button
      class="button small"
      type="button"
      disabled={!!store.busy.value}
      onClick={() => void store.retain(snapshot)}
    >
      Find out
    </button>
  );
  const figures: [string, ComponentChildren][] = [
    ["Size", bytes(object.size)],
    ["Retained", object.retained === null ? find : bytes(object.retained)],
    ["Refers to", count(object.references)],
    ["Referrers", count(object.referrers)],
  ];
  return (
    <dl class="figures">
      {figures.map(([name, value]) => (
        <div class="box" key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function DominatorChain({ store, snapshot, index }: { store: SnapshotStore; snapshot: number; index: number }) {
  const asked = useAnswer(() => store.heaps.dominatorsOf(snapshot, index), [snapshot, index]);
  if (!asked.answer) return null;
  return (
    <section class="box" aria-label="Dominators">
      <header>
        <h2>Dominators</h2>
        <span class="soft">every path from the roots goes through each of these: letting go of any frees it</span>
      </header>
      <Chain store={store} snapshot={snapshot} rows={asked.answer} />
    </section>
  );
}

interface NeighboursProps {
  readonly store: SnapshotStore;
  readonly snapshot: number;
  readonly index: number;
  readonly direction: "references" | "referrers";
}

function Neighbours({ store, snapshot, index, direction }: NeighboursProps) {
  const listing = useListing<ObjectOrder>("size", 50, 200);
  const { limit } = listing;
  const asked = useAnswer(
    () => store.heaps.neighbours(snapshot, index, direction, 0, limit),
    [snapshot, index, direction, limit, store.find(snapshot)],
  );
  const title = direction === "referrers" ? "Referrers" : "Refers to";
  return (
    <section class="box" aria-label={title}>
      <header>
        <h2>
          {title} <span class="soft">{asked.answer ? count(asked.answer.total) : ""}</span>
        </h2>
      </header>
      <ObjectTable
        store={store}
        snapshot={snapshot}
        label={title}
        asked={asked}
        listing={listing}
        sortable={false}
        empty={
          <p>
            {direction === "referrers"
              ? "Nothing in the dump refers to it: a local variable of running code holds it, or C code does."
              : "It refers to nothing in the dump."}
          </p>
        }
      />
    </section>
  );
}
