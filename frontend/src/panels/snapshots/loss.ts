import { count, counted } from "../../ui/format.ts";

/** How whole a snapshot is, in words; empty when nothing is missing. */
export function lossOf(expected: number, present: number): string {
  if (present >= expected) return "";
  return `${count(expected - present)} of ${counted(expected, "object")} did not arrive: counts are too low, and what they referred to may look unreferenced.`;
}
