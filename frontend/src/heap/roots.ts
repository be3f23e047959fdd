/**
 * What keeps a heap alive, as far as a dump can tell.
 *
 * A dump says who refers to whom, not what the interpreter itself holds. Roots are therefore
 * 1. modules (the interpreter's table of modules holds them; Ruby's dumps name roots of the virtual machine),
 * 2. objects that nothing in the dump refers to: local variables of running code and what C code holds,
 * 3. of what neither leads to, one object of each cycle that no other such cycle refers to: held from C, or garbage
 *    that waits for the collector.
 */

import type { Edges, Heap } from "./heap.ts";

export enum RootKind {
  none = 0,
  module = 1,
  unreferenced = 2,
  cycle = 3,
}

/** The classes whose instances are roots by what they are: Python's modules, and the roots of Ruby's dumps. */
const NAMED = new Set([
  "module",
  "vm",
  "machine_context",
  "global_tbl",
  "global_list",
  "global_symbols",
  "symbols",
  "end_proc",
]);

export interface Reach {
  /** Kind of root by object; `none` for all others. */
  readonly kind: Uint8Array<ArrayBuffer>;
  /** Roots, the better explanation first. */
  readonly roots: Uint32Array<ArrayBuffer>;
  /** The object that a shortest path from a root comes from; the object itself for a root. */
  readonly parent: Uint32Array<ArrayBuffer>;
}

/** Finds the roots and, breadth first, a shortest path from them to every object. */
export function reach(heap: Heap, back: Edges): Reach {
  const { count, refStart, refs, classOf } = heap;
  const kind = new Uint8Array(count);
  const parent = new Uint32Array(count).fill(count);
  const queue = new Uint32Array(count);
  let head = 0;
  let tail = 0;
  const seed = (object: number, as: RootKind): void => {
    if (parent[object] !== count) return;
    kind[object] = as;
    parent[object] = object;
    queue[tail++] = object;
  };
  const spread = (): void => {
    while (head < tail) {
      const object = queue[head++]!;
      for (let e = refStart[object]!; e < refStart[object + 1]!; e++) {
        const target = refs[e]!;
        if (parent[target] === count) {
          parent[target] = object;
          queue[tail++] = target;
        }
      }
    }
  };
  const roots: number[] = [];
  const named = heap.classes.map((name) => NAMED.has(name));
  for (let i = 0; i < count; i++) if (named[classOf[i]!]) seed(i, RootKind.module);
  for (let i = 0; i < count; i++) if (back.start[i] === back.start[i + 1]) seed(i, RootKind.unreferenced);
  for (let i = 0; i < tail; i++) roots.push(queue[i]!);
  spread();
  if (tail < count) {
    for (const object of sources(heap, parent)) {
      if (parent[object] !== count) continue;
      roots.push(object);
      seed(object, RootKind.cycle);
      spread();
    }
  }
  return { kind, roots: Uint32Array.from(roots), parent };
}

/**
 * The objects not reached, in reverse postorder of a depth-first search among them (Kosaraju): taken in this order, the
 * first that is not reached yet always belongs to a strongly connected component that no other unreached one refers to.
 */
function sources(heap: Heap, parent: Uint32Array): Uint32Array {
  const { count, refStart, refs } = heap;
  const seen = new Uint8Array(count);
  const order = new Uint32Array(count);
  let at = count;
  const stack = new Uint32Array(count);
  const edge = new Uint32Array(count);
  for (let begin = 0; begin < count; begin++) {
    if (parent[begin] !== count || seen[begin]) continue;
    let depth = 0;
    stack[depth++] = begin;
    seen[begin] = 1;
    edge[begin] = refStart[begin]!;
    while (depth) {
      const object = stack[depth - 1]!;
      if (edge[object]! < refStart[object + 1]!) {
        const target = refs[edge[object]!++]!;
        if (parent[target] === count && !seen[target]) {
          seen[target] = 1;
          edge[target] = refStart[target]!;
          stack[depth++] = target;
        }
      } else {
        order[--at] = object;
        depth--;
      }
    }
  }
  return order.subarray(at);
}

/** A shortest path to an object, from its root. */
export function pathTo(reached: Reach, object: number): number[] {
  const path = [object];
  while (reached.parent[object] !== object) {
    object = reached.parent[object]!;
    path.push(object);
  }
  return path.reverse();
}
