import type { ComponentChildren } from "preact";
import type { ObjectOrder, ObjectRow, Page } from "../../heap/analysis.ts";
import { RootKind } from "../../heap/roots.ts";
import { brief, bytes, clean, count } from "../../ui/format.ts";
import { type Column, ShowMore, type Sorting, Table } from "../../ui/table.tsx";
import type { Asked } from "../../ui/useanswer.ts";
import type { Listing } from "./listing.ts";
import type { SnapshotStore } from "./store.ts";

const ROOTS: { readonly [kind in RootKind]: string } = {
  [RootKind.none]: "",
  [RootKind.module]: "root",
  [RootKind.unreferenced]: "root: held by running code or by C",
  [RootKind.cycle]: "root: a cycle held from C, or garbage not yet collected",
};

export function rootWords(kind: RootKind): string {
  return ROOTS[kind];
}

export const address = (id: number): string => `0x${id.toString(16)}`;

export const placeWords = (file: string, line: number): string =>
  file ? `${clean(file, 200)}${line ? `:${line}` : ""}` : "";

const SEGMENTS = 3;

/** The end of a path, which tells files apart; the whole of it is in the title. */
export function FilePlace({ file, line }: { file: string; line: number }) {
  const parts = file.split("/");
  const short = parts.length > SEGMENTS + 1 ? `…/${parts.slice(-SEGMENTS).join("/")}` : file;
  return (
    <span class="mono name" title={placeWords(file, line)}>
      {placeWords(short, line)}
    </span>
  );
}

/** An object's class and address, as the way to it. */
export function ObjectLink({ store, snapshot, row }: { store: SnapshotStore; snapshot: number; row: ObjectRow }) {
  const title = `${row.name} ${address(row.id)}`;
  return (
    <button
      class="link mono object"
      type="button"
      onClick={() => store.enter({ kind: "object", key: snapshot, index: row.index, title })}
    >
      {brief(row.name)} <span class="soft">{address(row.id)}</span>
    </button>
  );
}

interface ObjectTableProps {
  readonly store: SnapshotStore;
  readonly snapshot: number;
  readonly label: string;
  readonly asked: Asked<Page<ObjectRow>>;
  readonly listing: Listing<ObjectOrder>;
  /** Whether the heads sort it. */
  readonly sortable?: boolean;
  readonly empty: ComponentChildren;
}

/** Objects one by one. */
export function ObjectTable({ store, snapshot, label, asked, listing, sortable = true, empty }: ObjectTableProps) {
  const rows = asked.answer?.rows ?? [];
  const retained = rows.some((row) => row.retained !== null);
  const columns: Column<ObjectRow, ObjectOrder | "object" | "from">[] = [
    {
      key: "object",
      title: "Object",
      sort: false,
      cell: (row) => <ObjectLink store={store} snapshot={snapshot} row={row} />,
    },
    { key: "size", title: "Size", number: true, cell: (row) => bytes(row.size) },
  ];
  if (retained) {
    columns.push({
      key: "retained",
      title: "Retained",
      number: true,
      hint: "What would be freed with it",
      cell: (row) => (row.retained === null ? "–" : bytes(row.retained)),
    });
  }
  columns.push(
    { key: "references", title: "Refers to", number: true, wide: true, cell: (row) => count(row.references) },
    { key: "referrers", title: "Referrers", number: true, wide: true, cell: (row) => count(row.referrers) },
  );
  if (rows.some((row) => row.file)) {
    columns.push({
      key: "from",
      title: "From",
      sort: false,
      wide: true,
      cell: (row) => <FilePlace file={row.file} line={row.line} />,
    });
  }
  if (asked.error) return <p class="notice bad inset">{clean(asked.error)}</p>;
  if (!asked.answer) return <p class="empty">Looking…</p>;
  if (!rows.length) return <div class="empty">{empty}</div>;
  return (
    <>
      <Table<ObjectRow, ObjectOrder | "object" | "from">
        label={label}
        columns={columns}
        rows={rows}
        rowKey={(row) => row.index}
        {...(sortable
          ? { sorting: listing.sorting, onSort: (next) => listing.onSort(next as Sorting<ObjectOrder>) }
          : {})}
      />
      {asked.answer.total > rows.length &&
        (listing.onMore ? (
          <ShowMore of={asked.answer.total} onMore={listing.onMore} />
        ) : (
          <div class="more-rows">
            <span class="soft">{count(asked.answer.total - rows.length)} more; filter to see them.</span>
          </div>
        ))}
    </>
  );
}
