import { clean, count } from "../../ui/format.ts";
import { type Column, Table } from "../../ui/table.tsx";
import type { MemoryFeed } from "./feed.ts";
import type { Site } from "./model/decode.ts";

const COLUMNS: readonly Column<Site>[] = [
  { key: "name", title: "Class", cell: (row) => <span class="mono name">{clean(row.name)}</span> },
  { key: "place", title: "Made at", cell: (row) => <span class="mono name">{`${clean(row.file)}:${row.line}`}</span> },
  { key: "count", title: "Objects", number: true, cell: (row) => count(row.count) },
];

/** Where traced objects are made; nothing where no server tells. */
export function SiteTable({ feed }: { feed: MemoryFeed }) {
  const sites = feed.store.sites.value;
  if (!sites.length) return null;
  return (
    <section class="box" aria-label="Allocation sites">
      <header>
        <h2>Where traced objects are made</h2>
      </header>
      <Table
        label="Allocation sites"
        columns={COLUMNS}
        rows={sites.slice(0, 200)}
        rowKey={(row) => `${row.name} ${row.file}:${row.line}`}
      />
    </section>
  );
}
