/**
 * Dominators and retained sizes: an object's dominator is the nearest one that every path from the roots goes through;
 * what an object dominates is freed with it, and the sizes of that are its retained size.
 *
 * Lengauer and Tarjan's algorithm (TOPLAS 1979) with simple path compression, without recursion: heaps hold linked lists
 * a million objects long. Node 0 is a virtual one that refers to all roots; object i is node i + 1.
 */

import type { Edges, Heap } from "./heap.ts";

export interface Dominators {
  /** Dominator by object; `count` for those that only the virtual root dominates. */
  readonly of: Uint32Array<ArrayBuffer>;
  /** Bytes by object, its own among them. */
  readonly retained: Float64Array<ArrayBuffer>;
}

export function dominators(heap: Heap, back: Edges, roots: Uint32Array): Dominators {
  const { count, sizes } = heap;
  const size = count + 1;
  const { vertex, number, parent, reached } = search(heap, roots);
  const isRoot = new Uint8Array(count);
  for (const root of roots) isRoot[root] = 1;

  // All of these are indexed by, and hold, numbers of the depth-first search.
  const semi = new Uint32Array(size);
  const label = new Uint32Array(size);
  const ancestor = new Uint32Array(size); // 0: not linked; the virtual root is never evaluated
  const linked = new Uint8Array(size);
  const idom = new Uint32Array(size);
  const bucket = new Uint32Array(size); // head of a list of nodes + 1
  const sibling = new Uint32Array(size);
  const trail = new Uint32Array(size);
  for (let v = 0; v < size; v++) semi[v] = label[v] = v;

  const evaluate = (v: number): number => {
    if (!linked[v]) return v;
    let depth = 0;
    let u = v;
    while (linked[ancestor[u]!]) {
      trail[depth++] = u;
      u = ancestor[u]!;
    }
    while (depth) {
      const w = trail[--depth]!;
      const above = ancestor[w]!;
      if (semi[label[above]!]! < semi[label[w]!]!) label[w] = label[above]!;
      ancestor[w] = ancestor[above]!;
    }
    return label[v]!;
  };

  for (let w = reached - 1; w > 0; w--) {
    const object = vertex[w]! - 1;
    let least = isRoot[object] ? 0 : w;
    for (let e = back.start[object]!; e < back.start[object + 1]!; e++) {
      const v = number[back.to[e]! + 1]!;
      const candidate = semi[evaluate(v)]!;
      if (candidate < least) least = candidate;
    }
    semi[w] = least;
    sibling[w] = bucket[least]!;
    bucket[least] = w + 1;
    const above = parent[w]!;
    ancestor[w] = above;
    linked[w] = 1;
    for (let next = bucket[above]!; next; ) {
      const v = next - 1;
      const u = evaluate(v);
      idom[v] = semi[u]! < semi[v]! ? u : above;
      next = sibling[v]!;
    }
    bucket[above] = 0;
  }
  for (let w = 1; w < reached; w++) if (idom[w] !== semi[w]) idom[w] = idom[idom[w]!]!;

  const of = new Uint32Array(count).fill(count);
  const retained = sizes.slice();
  for (let w = reached - 1; w > 0; w--) {
    const dominator = idom[w]!;
    if (!dominator) continue;
    const object = vertex[w]! - 1;
    const above = vertex[dominator]! - 1;
    of[object] = above;
    retained[above]! += retained[object]!;
  }
  return { of, retained };
}

/** Numbers the nodes in the order in which a depth-first search from the virtual root comes to them. */
function search(heap: Heap, roots: Uint32Array) {
  const { count, refStart, refs } = heap;
  const vertex = new Uint32Array(count + 1);
  const number = new Uint32Array(count + 1);
  const parent = new Uint32Array(count + 1);
  const stack = new Uint32Array(count + 1);
  const edge = new Uint32Array(count + 1);
  let reached = 1;
  for (const root of roots) {
    if (number[root + 1]) continue;
    let depth = 0;
    const visit = (node: number, from: number): void => {
      number[node] = reached;
      vertex[reached] = node;
      parent[reached++] = from;
      edge[node] = refStart[node - 1]!;
      stack[depth++] = node;
    };
    visit(root + 1, 0);
    while (depth) {
      const node = stack[depth - 1]!;
      if (edge[node]! < refStart[node]!) {
        const target = refs[edge[node]!++]! + 1;
        if (!number[target]) visit(target, number[node]!);
      } else depth--;
    }
  }
  return { vertex, number, parent, reached };
}

/**
 * Retained bytes by class: the sum over its objects, without those that another object of the class retains already.
 */
export function retainedByClass(heap: Heap, { of, retained }: Dominators): Float64Array<ArrayBuffer> {
  const { count, classOf } = heap;
  const totals = new Float64Array(heap.classes.length);
  const first = new Uint32Array(count + 1); // head of a list of children + 1
  const sibling = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    sibling[i] = first[of[i]!]!;
    first[of[i]!] = i + 1;
  }
  const above = new Uint32Array(heap.classes.length); // objects of each class on the way down
  const stack = new Uint32Array(count + 1);
  const next = first.slice();
  let depth = 0;
  stack[depth++] = count;
  while (depth) {
    const node = stack[depth - 1]!;
    const child = next[node]!;
    if (child) {
      const object = child - 1;
      next[node] = sibling[object]!;
      const kind = classOf[object]!;
      if (!above[kind]) totals[kind]! += retained[object]!;
      above[kind]!++;
      stack[depth++] = object;
    } else {
      depth--;
      if (node < count) above[classOf[node]!]!--;
    }
  }
  return totals;
}
