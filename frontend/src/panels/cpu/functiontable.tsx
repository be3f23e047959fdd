import { useSignal } from "@preact/signals";
import type { Ms } from "../../time.ts";
import { clean, count, percent, shortPath } from "../../ui/format.ts";
import type { FunctionRow } from "./model/graph.ts";
import { matches } from "./paint.ts";

type FunctionOrder = "self" | "total" | "change" | "label";

const SHOWN = 100;

interface FunctionTableProps {
  rows: readonly FunctionRow[];
  /** All weight, and that of the window compared with; null without one. */
  all: number;
  allBefore: number | null;
  search: string;
  /** A weight in words. */
  amount: (weight: Ms) => string;
  onPick: (label: string) => void;
}

/** Functions with self and total time: what the flame graph shows, sorted. */
export function FunctionTable({ rows, all, allBefore, search, amount, onPick }: FunctionTableProps) {
  const column = useSignal<FunctionOrder>("self");
  const down = useSignal(true);
  const shown = useSignal(SHOWN);
  const share = (row: FunctionRow) => row.self / (all || 1) - row.selfBefore / (allBefore || 1);
  const worth: { readonly [key in FunctionOrder]: (row: FunctionRow) => number } = {
    self: (row) => row.self,
    total: (row) => row.total,
    change: share,
    label: () => 0,
  };
  const value = worth[column.value];
  const sign = down.value ? -1 : 1;
  const found = rows
    .filter((row) => !search || matches(row.frame, search))
    .sort((a, b) => sign * (value(a) - value(b)) || sign * -(a.frame.label < b.frame.label ? -1 : 1));
  const sorter = (id: FunctionOrder, words: string, numeric = true) => (
    <th
      scope="col"
      class={numeric ? "number" : ""}
      aria-sort={column.value === id ? (down.value ? "descending" : "ascending") : "none"}
    >
      <button
        class="sorter"
        type="button"
        onClick={() => {
          down.value = column.value === id ? !down.value : id !== "label";
          column.value = id;
        }}
      >
        {words}
        <span aria-hidden="true">{column.value === id ? (down.value ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and keys have to reach it
    <section class="scroll functions" tabIndex={0} aria-label="Functions">
      <table class="table">
        <thead>
          <tr>
            {sorter("self", "Self")}
            {sorter("total", "Total")}
            {allBefore !== null && sorter("change", "Self, change")}
            {sorter("label", "Function", false)}
          </tr>
        </thead>
        <tbody>
          {found.slice(0, shown.value).map((row) => (
            <tr key={`${row.frame.label}\n${row.frame.file}\n${row.frame.line}`}>
              <ShareCell value={row.self} all={all} amount={amount} />
              <ShareCell value={row.total} all={all} amount={amount} />
              {allBefore !== null && <ChangeCell share={share(row)} />}
              <td>
                <button class="sorter mono name" type="button" onClick={() => onPick(row.frame.label)}>
                  <i class={`key ${row.frame.kind}`} aria-hidden="true" />
                  {clean(row.frame.label)}
                </button>
                {row.frame.file && (
                  <div class="mono soft place" title={clean(row.frame.file)}>
                    {shortPath(clean(row.frame.file))}:{row.frame.line}
                  </div>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {found.length === 0 && <p class="empty">No function matches.</p>}
      {found.length > shown.value && (
        <p class="more">
          <button
            class="button small"
            type="button"
            onClick={() => {
              shown.value += SHOWN * 5;
            }}
          >
            Show more of {count(found.length)}
          </button>
        </p>
      )}
    </section>
  );
}

function ShareCell({ value, all, amount }: { value: number; all: number; amount: FunctionTableProps["amount"] }) {
  const share = all ? value / all : 0;
  return (
    <td class="number share">
      <span class="bar" style={{ width: `${Math.min(100, share * 100).toFixed(1)}%` }} />
      <span class="figure">{percent(share)}</span> <span class="soft time">{amount(value)}</span>
    </td>
  );
}

function ChangeCell({ share }: { share: number }) {
  const tone = Math.abs(share) < 0.0005 ? "soft" : share > 0 ? "grown" : "shrunk";
  return (
    <td class={`number ${tone}`}>
      {share > 0 ? "+" : share < 0 ? "−" : ""}
      {percent(Math.abs(share))}
    </td>
  );
}
