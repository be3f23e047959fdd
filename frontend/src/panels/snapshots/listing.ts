import { useSignal } from "@preact/signals";
import { MOST_ROWS } from "../../heap/rows.ts";
import type { Sorting } from "../../ui/table.tsx";

/** What is shown of a list that is sorted and cut elsewhere: in which order, and how many of its rows. */
export interface Listing<Order extends string> {
  readonly sorting: Sorting<Order>;
  readonly onSort: (sorting: Sorting<Order>) => void;
  readonly limit: number;
  /** Asks for more rows; null where no more can be had. */
  readonly onMore: (() => void) | null;
}

/** A list that begins with `page` rows, the largest of `order` first, and grows by `step`. */
export function useListing<Order extends string>(order: Order, page = 100, step = 300): Listing<Order> {
  const sorting = useSignal<Sorting<Order>>({ key: order, ascending: false });
  const limit = useSignal(page);
  const more = () => {
    limit.value = Math.min(limit.value + step, MOST_ROWS);
  };
  return {
    sorting: sorting.value,
    onSort: (next) => {
      sorting.value = next;
    },
    limit: limit.value,
    onMore: limit.value < MOST_ROWS ? more : null,
  };
}
