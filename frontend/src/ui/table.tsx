import type { ComponentChildren } from "preact";
import { count } from "./format.ts";

export interface Column<Row, Key extends string = string> {
  readonly key: Key;
  readonly title: string;
  readonly cell: (row: Row) => ComponentChildren;
  /** Right-aligned, and sorted largest first. */
  readonly number?: boolean;
  /** False for a column that cannot be sorted by. */
  readonly sort?: boolean;
  /** What it means. */
  readonly hint?: string;
  /** Left out on narrow screens. */
  readonly wide?: boolean;
}

export interface Sorting<Key extends string> {
  readonly key: Key;
  readonly ascending: boolean;
}

interface TableProps<Row, Key extends string> {
  readonly label: string;
  readonly columns: readonly Column<Row, Key>[];
  readonly rows: readonly Row[];
  readonly rowKey: (row: Row) => string | number;
  readonly sorting?: Sorting<Key>;
  readonly onSort?: (sorting: Sorting<Key>) => void;
}

/** A table whose heads sort it; whoever shows it sorts the rows. */
export function Table<Row, Key extends string>(props: TableProps<Row, Key>) {
  const { label, columns, rows, rowKey, sorting, onSort } = props;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keyboard
    <section class="scroll" aria-label={label} tabIndex={0}>
      <table class="table" aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.key} column={column} sorting={sorting} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)}>
              {columns.map((column) => (
                <td key={column.key} class={classes(column)}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function classes<Row>(column: Column<Row>): string {
  return [column.number ? "number" : "", column.wide ? "wide-only" : ""].join(" ").trim();
}

interface HeadProps<Row, Key extends string> {
  readonly column: Column<Row, Key>;
  readonly sorting: Sorting<Key> | undefined;
  readonly onSort: ((sorting: Sorting<Key>) => void) | undefined;
}

function Head<Row, Key extends string>({ column, sorting, onSort }: HeadProps<Row, Key>) {
  if (!sorting || !onSort || column.sort === false) {
    return (
      <th scope="col" class={classes(column)} title={column.hint}>
        {column.title}
      </th>
    );
  }
  const active = sorting.key === column.key;
  const turn = () => onSort({ key: column.key, ascending: active ? !sorting.ascending : !column.number });
  return (
    <th
      scope="col"
      class={classes(column)}
      title={column.hint}
      aria-sort={active ? (sorting.ascending ? "ascending" : "descending") : "none"}
    >
      <button type="button" class="sorter" onClick={turn}>
        {column.title}
        <span aria-hidden="true" class="arrow">
          {active ? (sorting.ascending ? " ▲" : " ▼") : ""}
        </span>
      </button>
    </th>
  );
}

/** Below a table that does not show all of its rows. */
export function ShowMore({ of, onMore }: { of: number; onMore: () => void }) {
  return (
    <div class="more-rows">
      <button class="button small" type="button" onClick={onMore}>
        Show more of {count(of)}
      </button>
    </div>
  );
}
