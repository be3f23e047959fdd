/** Heaps for tests: reproducible, with every shape that real ones have. */

import { HeapBuilder } from "./builder.ts";
import type { Heap } from "./heap.ts";

/** Numbers in [0, 1) from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000;
  };
}

export const FACTS = { time: 1.7e12, origin: "test", process: "", expected: 0 };

/** A heap from its edges: object i has the id 1000 + 16 i, class names and sizes as given. */
export function heapOf(edges: number[][], names: string[] = [], sizes: number[] = []): Heap {
  const builder = new HeapBuilder();
  builder.add(
    edges.map((targets, i) => ({
      3: 1000 + 16 * i,
      4: names[i] ?? "thing",
      5: targets.map((target) => 1000 + 16 * target),
      8: sizes[i] ?? 1,
    })),
  );
  return builder.finish({ ...FACTS, expected: edges.length });
}

/** A random graph with cycles, self-references, double edges, isles and a few modules. */
export function randomHeap(seed: number, count: number, density: number): Heap {
  const random = seeded(seed);
  const edges: number[][] = [];
  const names: string[] = [];
  const sizes: number[] = [];
  for (let i = 0; i < count; i++) {
    const degree = Math.floor(random() * density * 2);
    edges.push(Array.from({ length: degree }, () => Math.floor(random() * count)));
    names.push(random() < 0.05 ? "module" : `app.Class${Math.floor(random() * 4)}`);
    sizes.push(Math.floor(random() * 100));
  }
  return heapOf(edges, names, sizes);
}
