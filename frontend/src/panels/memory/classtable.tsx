import { useSignal } from "@preact/signals";
import { clean, clock, count } from "../../ui/format.ts";
import { SearchField } from "../../ui/search.tsx";
import { type Column, ShowMore, type Sorting, Table } from "../../ui/table.tsx";
import { perSecond } from "./charts.tsx";
import type { MemoryFeed } from "./feed.ts";
import { type ClassCount, type ClassCountOrder, growthOf } from "./model/classcounts.ts";

const PAGE = 50;

type ClassColumn = Column<ClassCount, ClassCountOrder>;

const known = (value: number | null, words: (value: number) => string = count) => (value === null ? "–" : words(value));

const NAME: ClassColumn = {
  key: "name",
  title: "Class",
  cell: (row) => <span class="mono name">{clean(row.name)}</span>,
};
const LIVE: ClassColumn = { key: "live", title: "Live", number: true, cell: (row) => count(row.live) };
const GROWTH: ClassColumn = {
  key: "growth",
  title: "Growth",
  number: true,
  hint: "Living now, less those living at the time that is told above",
  cell: (row) => <Growth by={growthOf(row)} />,
};
const BORN: ClassColumn = {
  key: "born",
  title: "Births",
  number: true,
  hint: "Since watching began",
  cell: (row) => known(row.born),
};
const DIED: ClassColumn = {
  key: "died",
  title: "Deaths",
  number: true,
  hint: "Since watching began",
  cell: (row) => known(row.died),
};
const BORN_RATE: ClassColumn = {
  key: "bornRate",
  title: "Births/s",
  number: true,
  wide: true,
  cell: (row) => known(row.bornRate, perSecond),
};
const DIED_RATE: ClassColumn = {
  key: "diedRate",
  title: "Deaths/s",
  number: true,
  wide: true,
  cell: (row) => known(row.diedRate, perSecond),
};
const OLD: ClassColumn = {
  key: "old",
  title: "Old",
  number: true,
  hint: "Survived into the collector's oldest generation",
  cell: (row) => known(row.old),
};

function Growth({ by }: { by: number | null }) {
  if (by === null) return <>–</>;
  if (!by) return <>0</>;
  return <span class={by > 0 ? "more" : "less"}>{`${by > 0 ? "+" : "−"}${count(Math.abs(by))}`}</span>;
}

/** Living objects by class, and what is traced of them. */
export function ClassTable({ feed }: { feed: MemoryFeed }) {
  const filter = useSignal("");
  const shown = useSignal(PAGE);
  const sorting = useSignal<Sorting<ClassCountOrder>>({ key: "live", ascending: false });
  const { classes } = feed.store.figures.value;
  const events = feed.source.value === "events";
  const columns = events
    ? [NAME, LIVE, BORN, DIED, BORN_RATE, DIED_RATE]
    : [NAME, LIVE, GROWTH, BORN, DIED, BORN_RATE, DIED_RATE, OLD];
  const rows = classes.list(filter.value, sorting.value.key, sorting.value.ascending);
  return (
    <section class="box" aria-label="Classes">
      <header>
        <h2>
          Classes <span class="soft">{count(classes.size)}</span>
        </h2>
        {!events && <Since feed={feed} />}
        <div class="toolbar">
          <SearchField text={filter} words="Filter by name" label="Filter classes by name" />
          <TraceForm feed={feed} />
        </div>
      </header>
      <TracingNote feed={feed} />
      {rows.length ? (
        <Table
          label="Live objects by class"
          columns={columns}
          rows={rows.slice(0, shown.value)}
          rowKey={(row) => row.name}
          sorting={sorting.value}
          onSort={(next) => {
            sorting.value = next;
          }}
        />
      ) : (
        <div class="empty">
          <p>{filter.value ? "No class has this in its name." : "No object has been counted yet."}</p>
        </div>
      )}
      {rows.length > shown.value && (
        <ShowMore
          of={rows.length}
          onMore={() => {
            shown.value += 200;
          }}
        />
      )}
    </section>
  );
}

/** From when on growth is counted. */
function Since({ feed }: { feed: MemoryFeed }) {
  const { store } = feed;
  const { since } = store.figures.value.classes;
  return (
    <span class="toolbar soft">
      {since === null ? "growth from the next count on" : `growth since ${clock(since)}`}
      {since !== null && (
        <button
          class="button small"
          type="button"
          title="Counts growth from the last count on"
          onClick={() => store.growFromNow()}
        >
          From now
        </button>
      )}
    </span>
  );
}

/** Which objects are followed one by one, where the server can. */
function TraceForm({ feed }: { feed: MemoryFeed }) {
  const patterns = useSignal("");
  if (!feed.link.has("trace_objects")) return null;
  const on = (feed.tracing.value?.patterns.length ?? 0) > 0;
  return (
    <form
      class="toolbar"
      onSubmit={(event) => {
        event.preventDefault();
        void feed.trace(patterns.value);
      }}
    >
      <input
        class="field mono"
        placeholder="app.models.*"
        aria-label="Classes to trace, like app.models.*"
        title="Follows every object of these classes from birth to death"
        value={patterns.value}
        onInput={(event) => {
          patterns.value = event.currentTarget.value;
        }}
      />
      <button class="button small" type="submit" disabled={!patterns.value.trim()}>
        Trace
      </button>
      {on && (
        <button class="button small" type="button" onClick={() => void feed.trace("")}>
          Off
        </button>
      )}
    </form>
  );
}

function TracingNote({ feed }: { feed: MemoryFeed }) {
  const tracing = feed.tracing.value;
  if (!tracing) return null;
  return (
    <p class={`notice inset ${tracing.complete || !tracing.patterns.length ? "" : "warn"}`} role="status">
      {tracing.patterns.length
        ? `Tracing ${clean(tracing.patterns.join(", "))} by ${clean(tracing.mechanism)}, for every client. `
        : "Nothing is traced. "}
      {clean(tracing.note)}
    </p>
  );
}
