import { useSignal } from "@preact/signals";
import type { ObjectOrder } from "../../heap/analysis.ts";
import { Change, type DiffRow } from "../../heap/diff.ts";
import { areStrangers } from "../../heap/heap.ts";
import type { DiffOrder } from "../../heap/service.ts";
import { brief, bytes, clean, count } from "../../ui/format.ts";
import { SearchField } from "../../ui/search.tsx";
import { Segments } from "../../ui/segments.tsx";
import { type Column, ShowMore, Table } from "../../ui/table.tsx";
import { useAnswer } from "../../ui/useanswer.ts";
import { useListing } from "./listing.ts";
import { ObjectTable } from "./objecttable.tsx";
import type { SnapshotStore, TrailStepOf } from "./store.ts";

/** Two snapshots, class by class. */
export function DiffView({ store, place }: { store: SnapshotStore; place: TrailStepOf<"diff"> }) {
  const filter = useSignal("");
  const all = useSignal(false);
  const listing = useListing<DiffOrder>("size");
  const { before, after } = place;
  const { key: order, ascending } = listing.sorting;
  const { limit } = listing;
  const [one, other] = [store.find(before), store.find(after)];
  const strangers = one !== undefined && other !== undefined && areStrangers(one.facts, other.facts);
  const asked = useAnswer(
    () =>
      store.heaps.diff(before, after, {
        filter: filter.value,
        all: all.value,
        order,
        ascending,
        limit,
      }),
    [before, after, filter.value, all.value, order, ascending, limit],
  );
  return (
    <section class="box" aria-label="Comparison">
      <header>
        <h2>What has changed</h2>
        <div class="toolbar">
          <SearchField text={filter} words="Filter by name" label="Filter" />
          <label class="labelled">
            <input
              type="checkbox"
              checked={all.value}
              onChange={(event) => {
                all.value = event.currentTarget.checked;
              }}
            />
            unchanged and rbkit's own, too
          </label>
        </div>
      </header>
      {strangers && (
        <p class="notice warn inset" role="status">
          <span>
            These are two processes: <strong>{brief(one.facts.origin)}</strong> and{" "}
            <strong>{brief(other.facts.origin)}</strong>. No object of one is the other's, so only numbers and sizes are
            compared: what is more here is not what has grown.
          </span>
        </p>
      )}
      {asked.error && <p class="notice bad inset">{clean(asked.error)}</p>}
      {!asked.answer && !asked.error && <p class="empty">Comparing…</p>}
      {asked.answer?.total === 0 && <p class="empty">No class has changed.</p>}
      {asked.answer && asked.answer.total > 0 && (
        <Table
          label="Changes by class"
          columns={strangers ? SUMS : columnsOf(store, before, after)}
          rows={asked.answer.rows}
          rowKey={(row) => row.name}
          sorting={listing.sorting}
          onSort={listing.onSort}
        />
      )}
      {asked.answer && asked.answer.total > asked.answer.rows.length && listing.onMore && (
        <ShowMore of={asked.answer.total} onMore={listing.onMore} />
      )}
      {!strangers && (
        <p class="inside soft">
          An object is the same if its address and class are. One that took the place of a dead object of its class
          counts as the same, so “new” and “gone” may be a little low.
        </p>
      )}
    </section>
  );
}

const SIZE: Column<DiffRow, DiffOrder> = {
  key: "size",
  title: "Size ±",
  number: true,
  cell: (row) => <Signed by={row.sizeAfter - row.sizeBefore} words={bytes} />,
};

const OBJECTS: Column<DiffRow, DiffOrder> = {
  key: "count",
  title: "Objects ±",
  number: true,
  cell: (row) => <Signed by={row.countAfter - row.countBefore} words={count} />,
};

/** What two processes can be compared by. */
const SUMS: readonly Column<DiffRow, DiffOrder>[] = [
  { key: "name", title: "Class", cell: (row) => <span class="mono name">{clean(row.name)}</span> },
  SIZE,
  OBJECTS,
];

function columnsOf(store: SnapshotStore, before: number, after: number): Column<DiffRow, DiffOrder>[] {
  const enter = (row: DiffRow, change: Shown) =>
    store.enter({ kind: "changed", before, after, change, name: row.name });
  const counted = (row: DiffRow, change: Shown, amount: number, words: string) =>
    amount ? (
      <button
        class="link"
        type="button"
        aria-label={`${count(amount)} ${words} of ${clean(row.name)}`}
        onClick={() => enter(row, change)}
      >
        {count(amount)}
      </button>
    ) : (
      "0"
    );
  return [
    {
      key: "name",
      title: "Class",
      cell: (row) => (
        <button
          class="link mono name"
          type="button"
          onClick={() => enter(row, row.created ? "created" : row.grown ? "grown" : "gone")}
        >
          {clean(row.name)}
        </button>
      ),
    },
    SIZE,
    OBJECTS,
    {
      key: "created",
      title: "New",
      number: true,
      cell: (row) => counted(row, "created", row.created, "new objects"),
    },
    {
      key: "gone",
      title: "Gone",
      number: true,
      wide: true,
      cell: (row) => counted(row, "gone", row.gone, "gone objects"),
    },
    {
      key: "grown",
      title: "Grown",
      number: true,
      wide: true,
      cell: (row) => counted(row, "grown", row.grown, "grown objects"),
    },
  ];
}

function Signed({ by, words }: { by: number; words: (value: number) => string }) {
  if (!by) return <>0</>;
  return <span class={by > 0 ? "more" : "less"}>{`${by > 0 ? "+" : "−"}${words(Math.abs(by))}`}</span>;
}

const CHANGES = [
  ["created", "New"],
  ["grown", "Grown"],
  ["gone", "Gone"],
] as const;

type Shown = (typeof CHANGES)[number][0];

const MARKS = { created: Change.created, grown: Change.grown, gone: Change.gone } as const;

/** The objects of one class that are new, grown or gone. */
export function ChangedObjects({ store, place }: { store: SnapshotStore; place: TrailStepOf<"changed"> }) {
  const shown = useSignal<Shown>(place.change);
  const change = MARKS[shown.value];
  const listing = useListing<ObjectOrder>("size");
  const { key: order, ascending } = listing.sorting;
  const { limit } = listing;
  const { before, after, name } = place;
  const snapshot = change === Change.gone ? before : after;
  const asked = useAnswer(
    () =>
      store.heaps.changed(before, after, change, {
        className: name,
        order,
        ascending,
        limit,
      }),
    [before, after, name, change, order, ascending, limit],
  );
  return (
    <section class="box" aria-label="Changed objects">
      <header>
        <h2 class="mono name">{clean(name)}</h2>
        <Segments
          label="Which objects"
          value={shown.value}
          choices={CHANGES}
          onChoose={(one) => {
            shown.value = one;
          }}
        />
      </header>
      <ObjectTable
        store={store}
        snapshot={snapshot}
        label={`Changed objects of ${clean(name)}`}
        asked={asked}
        listing={listing}
        empty={<p>None.</p>}
      />
    </section>
  );
}
