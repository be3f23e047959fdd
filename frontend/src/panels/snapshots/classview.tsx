import { useSignal } from "@preact/signals";
import type { ObjectOrder } from "../../heap/analysis.ts";
import type { ClassRow, SiteRow } from "../../heap/histogram.ts";
import type { ClassOrder, Summary } from "../../heap/service.ts";
import { bytes, clean, count } from "../../ui/format.ts";
import { SearchField } from "../../ui/search.tsx";
import { Segments } from "../../ui/segments.tsx";
import { type Column, ShowMore, Table } from "../../ui/table.tsx";
import { useAnswer } from "../../ui/useanswer.ts";
import { useListing } from "./listing.ts";
import { ObjectTable, placeWords } from "./objecttable.tsx";
import type { SnapshotStore, TrailStepOf } from "./store.ts";

const LISTED = [
  ["classes", "Classes"],
  ["objects", "Objects"],
] as const;

/** A snapshot: its classes, or its objects. */
export function SnapshotContents({
  store,
  place,
}: {
  store: SnapshotStore;
  place: TrailStepOf<"classes"> | TrailStepOf<"objects">;
}) {
  const filter = useSignal("");
  const summary = store.find(place.key);
  if (!summary) return null;
  return (
    <section class="box" aria-label="Contents of the snapshot">
      <header>
        <Segments
          label="What is listed"
          value={place.kind}
          choices={LISTED}
          onChoose={(kind) => store.show({ kind, key: place.key })}
        />
        <div class="toolbar">
          <SearchField
            text={filter}
            words={place.kind === "classes" ? "Filter by name" : "Filter by class or file"}
            label="Filter"
          />
          <Retain store={store} summary={summary} />
        </div>
      </header>
      {place.kind === "classes" ? (
        <SnapshotClasses store={store} summary={summary} filter={filter.value} />
      ) : (
        <SnapshotObjects store={store} summary={summary} filter={filter.value} />
      )}
    </section>
  );
}

function Retain({ store, summary }: { store: SnapshotStore; summary: Summary }) {
  if (summary.retained) return null;
  return (
    <button
      class="button small"
      type="button"
      title="Which objects would be freed with each (dominators); takes seconds for a million objects, in this browser only"
      disabled={!!store.busy.value}
      onClick={() => void store.retain(summary.key)}
    >
      Retained sizes
    </button>
  );
}

interface Listed {
  readonly store: SnapshotStore;
  readonly summary: Summary;
  readonly filter: string;
}

function SnapshotClasses({ store, summary, filter }: Listed) {
  const listing = useListing<ClassOrder>("size");
  const { key: order, ascending } = listing.sorting;
  const { limit } = listing;
  const asked = useAnswer(
    () => store.heaps.classes(summary.key, { filter, order, ascending, limit }),
    [summary, filter, order, ascending, limit],
  );
  const columns: Column<ClassRow, ClassOrder>[] = [
    {
      key: "name",
      title: "Class",
      cell: (row) => (
        <button
          class="link mono name"
          type="button"
          title={placeWords(row.file, row.line)}
          onClick={() => store.enter({ kind: "class", key: summary.key, number: row.number, name: row.name })}
        >
          {clean(row.name)}
        </button>
      ),
    },
    { key: "count", title: "Objects", number: true, cell: (row) => count(row.count) },
    { key: "size", title: "Size", number: true, cell: (row) => <SizeShare of={summary.size} size={row.size} /> },
    { key: "references", title: "References", number: true, wide: true, cell: (row) => count(row.references) },
  ];
  if (summary.retained) {
    columns.push({
      key: "retained",
      title: "Retained",
      number: true,
      hint: "What would be freed with all of its objects",
      cell: (row) => (row.retained === null ? "–" : <SizeShare of={summary.size} size={row.retained} />),
    });
  }
  if (asked.error) return <p class="notice bad inset">{clean(asked.error)}</p>;
  if (!asked.answer) return <p class="empty">Counting…</p>;
  if (!asked.answer.total) return <p class="empty">No class has this in its name.</p>;
  return (
    <>
      <Table
        label="Objects by class"
        columns={columns}
        rows={asked.answer.rows}
        rowKey={(row) => row.number}
        sorting={listing.sorting}
        onSort={listing.onSort}
      />
      {asked.answer.total > asked.answer.rows.length && listing.onMore && (
        <ShowMore of={asked.answer.total} onMore={listing.onMore} />
      )}
    </>
  );
}

/** Bytes, and how much of the whole they are. */
function SizeShare({ size, of }: { size: number; of: number }) {
  const share = of ? Math.min(size / of, 1) : 0;
  return (
    <span class="portion">
      {bytes(size)}
      <span class="bar" aria-hidden="true">
        <span style={{ width: `${share * 100}%` }} />
      </span>
    </span>
  );
}

function SnapshotObjects({ store, summary, filter }: Listed) {
  const listing = useListing<ObjectOrder>(summary.retained ? "retained" : "size");
  const { key: order, ascending } = listing.sorting;
  const { limit } = listing;
  const asked = useAnswer(
    () => store.heaps.objects(summary.key, { filter, order, ascending, limit }),
    [summary, filter, order, ascending, limit],
  );
  return (
    <ObjectTable
      store={store}
      snapshot={summary.key}
      label="Objects"
      asked={asked}
      listing={listing}
      empty={<p>No object's class or file has this in its name.</p>}
    />
  );
}

/** The objects of a class, by where they are from. */
export function ClassView({ store, place }: { store: SnapshotStore; place: TrailStepOf<"class"> }) {
  const site = useSignal<SiteRow | null>(null);
  const listing = useListing<ObjectOrder>("size");
  const { key: order, ascending } = listing.sorting;
  const { limit } = listing;
  const sites = useAnswer(() => store.heaps.sites(place.key, place.number), [place.key, place.number]);
  const chosen = site.value;
  const asked = useAnswer(
    () =>
      store.heaps.objects(place.key, {
        classNumber: place.number,
        order,
        ascending,
        limit,
        ...(chosen ? { site: { fileNumber: chosen.fileNumber, line: chosen.line } } : {}),
      }),
    [place.key, place.number, order, ascending, limit, chosen, store.find(place.key)],
  );
  return (
    <>
      <section class="box" aria-label="Where its objects are from">
        <header>
          <h2 class="mono name">{clean(place.name)}</h2>
        </header>
        {sites.answer && <ClassPlaces rows={sites.answer.rows} chosen={chosen} choose={(row) => (site.value = row)} />}
      </section>
      <section class="box" aria-label="Its objects">
        <header>
          <h2>
            {chosen ? `Objects from ${placeWords(chosen.file, chosen.line) || "an unknown place"}` : "All its objects"}
          </h2>
          {chosen && (
            <button
              class="button small"
              type="button"
              onClick={() => {
                site.value = null;
              }}
            >
              All places
            </button>
          )}
        </header>
        <ObjectTable
          store={store}
          snapshot={place.key}
          label={`Objects of ${clean(place.name)}`}
          asked={asked}
          listing={listing}
          empty={<p>It has none.</p>}
        />
      </section>
    </>
  );
}

interface SitesProps {
  readonly rows: readonly SiteRow[];
  readonly chosen: SiteRow | null;
  readonly choose: (row: SiteRow) => void;
}

function ClassPlaces({ rows, chosen, choose }: SitesProps) {
  if (rows.every((row) => !row.file)) {
    return (
      <p class="inside soft">
        The dump does not say where these were made. In Python it knows the place of functions, code, frames,
        generators, modules and classes only.
      </p>
    );
  }
  const columns: readonly Column<SiteRow>[] = [
    {
      key: "place",
      title: "File and line",
      cell: (row) => (
        <button class="link mono name" type="button" aria-pressed={row === chosen} onClick={() => choose(row)}>
          {placeWords(row.file, row.line) || "unknown"}
        </button>
      ),
    },
    { key: "count", title: "Objects", number: true, cell: (row) => count(row.count) },
    { key: "size", title: "Size", number: true, cell: (row) => bytes(row.size) },
  ];
  return <Table label="Places" columns={columns} rows={rows} rowKey={(row) => `${row.fileNumber}:${row.line}`} />;
}
