/** Figures and words as people read them. Everything a server sends goes through `clean` before it is drawn. */

import type { EpochMs, Ms } from "../time.ts";

// Control characters, those that turn the writing direction, and those that take no room (two names that differ in
// nothing else look alike): a name must not rearrange what stands around it. Halves of a pair as well.
const UNSEEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}\ud800-\udfff]/gu;
// More marks than any language sets on a letter: they would be drawn over the lines above.
const PILED = /(\p{M}{4})\p{M}+/gu;

/** Longer names are of no use to people, and would push all else from the screen. */
const LONGEST = 500;

/** A name as it may be drawn; one that is too long without its middle. */
export function clean(name: string, longest = LONGEST): string {
  return bounded(name, longest).replace(UNSEEN, "\ufffd").replace(PILED, "$1\ufffd");
}

/** The same for a place with room for a few words: an entry of a list, say. */
export function brief(name: string): string {
  return clean(name, 80);
}

/** At most `longest` characters: the beginning and the end, which tell most. */
export function bounded(name: string, longest: number): string {
  if (name.length <= longest) return name;
  const end = Math.floor(longest / 3);
  return `${name.slice(0, longest - end - 1)}…${name.slice(name.length - end)}`;
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number): string {
  let unit = 0;
  let size = value;
  while (Math.abs(size) >= 1024 && unit < BYTES.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit && Math.abs(size) < 100 ? size.toFixed(1) : Math.round(size)} ${BYTES[unit]}`;
}

const grouped = new Intl.NumberFormat("en-US");

export function count(value: number): string {
  return grouped.format(value);
}

/** So many of a thing, one or several. */
export function counted(value: number, thing: string): string {
  return `${count(value)} ${thing}${value === 1 ? "" : "s"}`;
}

export function percent(share: number): string {
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 0.05) return "<0.1%";
  return `${Math.abs(value) >= 99.95 ? Math.round(value) : value.toFixed(1)}%`;
}

/** A span of time in the unit that suits its length. */
export function duration(ms: Ms): string {
  const size = Math.abs(ms);
  if (size < 1) return `${Math.round(ms * 1000)} µs`;
  if (size < 1000) return `${ms.toFixed(size < 10 ? 1 : 0)} ms`;
  if (size < 60_000) return `${(ms / 1000).toFixed(size < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Wall-clock time, HH:MM:SS. */
export function clock(ms: EpochMs): string {
  return new Date(ms).toTimeString().slice(0, 8);
}

/** A path from the installed package's name on; others as they are. */
export function shortPath(file: string): string {
  return file.replace(/^.*[/\\](site-packages|dist-packages|lib[/\\]python[\d.]+|gems)[/\\]/, "…/");
}
