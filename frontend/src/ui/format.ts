/** Figures and words as people read them. Everything a server sends goes through `clean` before it is drawn. */

// Control characters, and those that turn the writing direction: a name must not rearrange what stands around it.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

export function clean(name: string): string {
  return name.replace(UNSEEN, "\ufffd");
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

export function percent(share: number): string {
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 0.05) return "<0.1%";
  return `${Math.abs(value) >= 99.95 ? Math.round(value) : value.toFixed(1)}%`;
}

/** A span of time given in microseconds. */
export function duration(us: number): string {
  const size = Math.abs(us);
  if (size < 1000) return `${Math.round(us)} µs`;
  if (size < 1e6) return `${(us / 1e3).toFixed(size < 1e4 ? 1 : 0)} ms`;
  if (size < 60e6) return `${(us / 1e6).toFixed(size < 1e7 ? 2 : 1)} s`;
  const minutes = Math.floor(us / 60e6);
  if (minutes < 60) return `${minutes} min ${Math.floor((us % 60e6) / 1e6)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Wall-clock time of milliseconds since the epoch, HH:MM:SS. */
export function clock(ms: number): string {
  return new Date(ms).toTimeString().slice(0, 8);
}

/** A path from the installed package's name on; others as they are. */
export function shortPath(file: string): string {
  return file.replace(/^.*[/\\](site-packages|dist-packages|lib[/\\]python[\d.]+|gems)[/\\]/, "…/");
}
