/** What the keys of `gc_stats` mean: in Python, and as the protocol has them, which is Ruby's way. */

type Meanings = { readonly [key: string]: string };

const PYTHON: Meanings = {
  count: "Collections since the process started, all generations together.",
  minor_gc_count: "Collections of generations 0 and 1: young objects only.",
  major_gc_count: "Collections of generation 2, which look at every container object.",
  heap_live_slots: "Memory blocks that Python's allocator has handed out.",
  allocated_blocks: "Memory blocks that Python's allocator has handed out. Grows with every leak, C extensions' aside.",
  total_heap_size: "Resident memory that is no mapped file: the heaps of Python and of C libraries.",
  total_memsize: "Resident memory of the process, mapped files included.",
  rss: "Resident memory of the process, mapped files included.",
  gc_time_ms: "Milliseconds that collections took since the last of these messages.",
  freeze_count: "Objects that gc.freeze() took out of the collector's sight.",
  objects_followed: "Objects whose end is watched now.",
  objects_skipped: "Young objects not looked at, to keep within the budget: births and deaths are a sample then.",
  threads: "Threads that run Python code.",
  greenlets: "Living greenlets.",
  open_fds: "Open files and sockets. One that only grows is a leak as well.",
};

const PROTOCOL: Meanings = {
  count: "Collections since the process started.",
  minor_gc_count: "Collections of young objects only.",
  major_gc_count: "Collections of all objects.",
  heap_allocated_pages: "Pages of the heap, 16 KiB or 64 KiB each.",
  heap_eden_pages: "Pages with at least one live object.",
  heap_tomb_pages: "Pages without any: free to be given back.",
  heap_allocatable_pages: "Pages that may be added before the next collection.",
  heap_sorted_length: "Entries of the table of pages.",
  heap_live_slots: "Slots with an object that was alive at the last look.",
  heap_free_slots: "Empty slots.",
  heap_final_slots: "Slots whose object waits for its finalizer.",
  heap_swept_slots: "Slots freed by the last sweep.",
  old_objects: "Objects that have survived several collections.",
  old_objects_limit: "Old objects that start a major collection.",
  total_allocated_objects: "Objects made since the process started.",
  total_freed_objects: "Objects freed since the process started.",
  malloc_increase_bytes: "Bytes taken from malloc since the last collection.",
  malloc_increase_bytes_limit: "So many start a minor collection.",
  oldmalloc_increase_bytes: "Bytes taken from malloc since the last major collection.",
  oldmalloc_increase_bytes_limit: "So many start a major collection.",
  remembered_wb_unprotected_objects: "Objects without a write barrier that refer to young ones.",
  remembered_wb_unprotected_objects_limit: "So many start a major collection.",
  total_heap_size: "Bytes of all slots.",
  total_memsize: "Bytes that all objects hold, malloc's included.",
};

const GENERATIONS: readonly [RegExp, (generation: string) => string][] = [
  [/^collections_(\d)$/, (g) => `Collections of generation ${g}.`],
  [/^collected_(\d)$/, (g) => `Objects that collections of generation ${g} freed.`],
  [/^uncollectable_(\d)$/, (g) => `Objects that collections of generation ${g} could not free.`],
  [/^pending_(\d)$/, (g) => `Container objects made since the last collection of generation ${g}, less those freed.`],
];

/** What a key means; empty when nobody knows. */
export function meaning(key: string, language: string): string {
  const known = language === "python" ? PYTHON : PROTOCOL;
  if (Object.hasOwn(known, key)) return known[key]!;
  for (const [pattern, words] of GENERATIONS) {
    const match = pattern.exec(key);
    if (match) return words(match[1]!);
  }
  // Protocol 1 called them heap_live_slot, old_object and the like.
  return Object.hasOwn(known, `${key}s`) ? known[`${key}s`]! : "";
}

const BYTES = new Set(["total_heap_size", "total_memsize", "rss"]);

/** Whether a key's number is bytes. */
export function isBytes(key: string): boolean {
  return BYTES.has(key) || /_bytes(_limit)?$/.test(key);
}
