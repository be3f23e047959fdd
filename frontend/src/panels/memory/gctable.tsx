import { bytes, clean, count } from "../../ui/format.ts";
import { type Column, Table } from "../../ui/table.tsx";
import type { MemoryFeed } from "./feed.ts";
import { isBytes, meaning } from "./model/gckeys.ts";

interface Stat {
  readonly key: string;
  readonly value: number;
  readonly means: string;
}

const COLUMNS: readonly Column<Stat>[] = [
  { key: "key", title: "Key", cell: (row) => <code>{clean(row.key)}</code> },
  { key: "value", title: "Now", number: true, cell: (row) => figure(row) },
  { key: "means", title: "Meaning", cell: (row) => row.means },
];

function figure({ key, value }: Stat): string {
  if (isBytes(key)) return bytes(value);
  return Number.isInteger(value) ? count(value) : value.toFixed(1);
}

/** Every key of the last gc_stats, with what it means in the server's language. */
export function GcStats({ feed }: { feed: MemoryFeed }) {
  const stats = feed.store.stats.value;
  const language = feed.link.handshake.value?.language ?? "";
  const rows = [...stats].map(([key, value]) => ({ key, value, means: meaning(key, language) }));
  return (
    <section class="box" aria-label="Collector statistics">
      <header>
        <h2>Collector statistics</h2>
      </header>
      {rows.length ? (
        <Table label="Collector statistics" columns={COLUMNS} rows={rows} rowKey={(row) => row.key} />
      ) : (
        <div class="empty">
          <p>They come every few seconds once memory is watched.</p>
        </div>
      )}
    </section>
  );
}
