/**
 * A snapshot as a file: gzip over
 *
 *   "rbkit heap 1\n"                                   what it is, and the version of this layout
 *   one line of JSON: {"name", "count", "references",  strings, and how long the columns are
 *                      "classes": [...], "places": [[file, line], ...], "files": [...], "facts": {...}}
 *   the columns, little-endian, one behind the other: ids f64, classOf u32, sizes f64, fileOf u32, lines u32,
 *                      refStart u32 (count + 1), refs u32 ("references" of them)
 *
 * Everything is checked when it is read: a file comes from anywhere.
 */

import type { Heap, HeapFacts, SourcePlace } from "./heap.ts";

const MAGIC = "rbkit heap ";
const VERSION = 1;
const NEWLINE = 10;
/** A file that unpacks to more than this is refused before it eats the memory. */
const LARGEST = 4 * 1024 ** 3;

/** A file that is no snapshot; the text says what is wrong with it. */
export class BadFile extends Error {
  override readonly name = "BadFile";
}

type Kind = "f64" | "u32";

/** The columns in the order of the file, with their lengths. */
function columns(count: number, references: number): [keyof Heap, Kind, number][] {
  return [
    ["ids", "f64", count],
    ["classOf", "u32", count],
    ["sizes", "f64", count],
    ["fileOf", "u32", count],
    ["lines", "u32", count],
    ["refStart", "u32", count + 1],
    ["refs", "u32", references],
  ];
}

export async function write(heap: Heap, name: string): Promise<Blob> {
  const header = {
    name,
    count: heap.count,
    references: heap.refs.length,
    classes: heap.classes,
    places: heap.places.map(({ file, line }) => [file, line]),
    files: heap.files,
    facts: heap.facts,
  };
  const parts: BlobPart[] = [`${MAGIC}${VERSION}\n${JSON.stringify(header)}\n`];
  for (const [column] of columns(heap.count, heap.refs.length)) parts.push(heap[column] as Float64Array<ArrayBuffer>);
  const packed = new Blob(parts).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(packed).blob();
}

/**
 * The snapshot in a file, and its name.
 *
 * @throws BadFile it is none, is damaged, or was written by a newer version.
 */
export async function read(file: Blob): Promise<{ heap: Heap; name: string }> {
  const data = await unpacked(file);
  const first = line(data, 0, 64);
  if (!first?.text.startsWith(MAGIC)) throw new BadFile("This is not a heap snapshot that this dashboard has saved.");
  if (first.text !== `${MAGIC}${VERSION}`) {
    throw new BadFile(`This snapshot was saved by a newer version (format ${first.text.slice(MAGIC.length)}).`);
  }
  const second = line(data, first.end, data.length);
  if (!second) throw new BadFile("The file ends too early: it is not whole.");
  const header = parsed(second.text);
  const { count, references } = header;
  const expected = columns(count, references).reduce((sum, [, kind, n]) => sum + n * (kind === "f64" ? 8 : 4), 0);
  if (data.length - second.end < expected) throw new BadFile("The file ends too early: it is not whole.");
  const found: Record<string, unknown> = {};
  let at = second.end;
  for (const [column, kind, length] of columns(count, references)) {
    const end = at + length * (kind === "f64" ? 8 : 4);
    const bytes = data.slice(at, end).buffer; // aligned, as typed arrays need it
    found[column] = kind === "f64" ? new Float64Array(bytes) : new Uint32Array(bytes);
    at = end;
  }
  const { name, classes, places, files, facts } = header;
  const heap = { ...(found as unknown as Heap), count, classes, places, files, facts };
  check(heap);
  return { heap, name };
}

async function unpacked(file: Blob): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    const reader = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      size += next.value.length;
      if (size > LARGEST) {
        await reader.cancel();
        throw new BadFile("This file unpacks to more than 4 GB.");
      }
      pieces.push(next.value);
    }
  } catch (error) {
    if (error instanceof BadFile) throw error;
    // What the platform says of damaged gzip data differs from browser to browser.
    throw new BadFile(
      size ? "The file is damaged or ends too early." : "This is not a heap snapshot that this dashboard has saved.",
    );
  }
  const data = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  return data;
}

function line(data: Uint8Array, from: number, longest: number): { text: string; end: number } | null {
  const end = data.subarray(from, from + longest).indexOf(NEWLINE);
  if (end < 0) return null;
  return { text: new TextDecoder().decode(data.subarray(from, from + end)), end: from + end + 1 };
}

interface Header {
  name: string;
  count: number;
  references: number;
  classes: string[];
  places: SourcePlace[];
  files: string[];
  facts: HeapFacts;
}

function parsed(text: string): Header {
  let raw: Record<string, unknown>;
  try {
    raw = JSON.parse(text);
  } catch {
    throw new BadFile("The file's header is damaged.");
  }
  const facts = raw.facts as Record<string, unknown> | undefined;
  const places = raw.places;
  if (
    !whole(raw.count) ||
    !whole(raw.references) ||
    !texts(raw.classes) ||
    !texts(raw.files) ||
    raw.files.length < 1 ||
    !Array.isArray(places) ||
    places.length !== raw.classes.length ||
    !facts
  ) {
    throw new BadFile("The file's header is damaged.");
  }
  const words = (key: string): string => (typeof facts[key] === "string" ? (facts[key] as string) : "");
  const number = (key: string): number => (Number.isFinite(facts[key]) ? (facts[key] as number) : 0);
  return {
    name: typeof raw.name === "string" ? raw.name : "",
    count: raw.count,
    references: raw.references,
    classes: raw.classes,
    files: raw.files,
    places: places.map((place: unknown) => {
      const [file, at] = Array.isArray(place) ? place : [];
      return { file: typeof file === "string" ? file : "", line: whole(at) ? at : 0 };
    }),
    facts: {
      time: number("time"),
      origin: words("origin"),
      process: words("process"),
      expected: number("expected"),
      repeated: number("repeated"),
      dangling: number("dangling"),
    },
  };
}

const whole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const texts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((text) => typeof text === "string");

/** Every index has to lead somewhere, or whatever walks the heap would run astray. */
function check(heap: Heap): void {
  const damaged = new BadFile("The file is damaged: it holds references that lead nowhere.");
  const { count, classOf, fileOf, refStart, refs } = heap;
  if (refStart[0] !== 0 || refStart[count] !== refs.length) throw damaged;
  for (let i = 0; i < count; i++) {
    if (classOf[i]! >= heap.classes.length || fileOf[i]! >= heap.files.length || refStart[i]! > refStart[i + 1]!) {
      throw damaged;
    }
    if (!(heap.sizes[i]! >= 0) || !Number.isFinite(heap.sizes[i]!) || !whole(heap.ids[i])) throw damaged;
  }
  for (const target of refs) if (target >= count) throw damaged;
}
