/** The first rows of a million objects in order: in one pass, where sorting all of them takes a second. */

/**
 * The `wanted` leading ones of `indices`, ordered by `key`, largest first (or smallest first); equal ones stay in the
 * order given.
 *
 * A heap keeps the best so far, the worst of them on top: nearly all others are passed by after one comparison.
 */
export function leading(
  indices: Uint32Array,
  key: ArrayLike<number>,
  wanted: number,
  descending = true,
): Uint32Array<ArrayBuffer> {
  const size = Math.min(wanted, indices.length);
  if (size <= 0) return new Uint32Array(0);
  const sign = descending ? 1 : -1;
  const rank = (position: number): number => sign * key[indices[position]!]!;
  const worse = (a: number, b: number): boolean => {
    const x = rank(a);
    const y = rank(b);
    return x === y ? a > b : x < y;
  };
  const heap = new Uint32Array(size);
  const sink = (at: number): void => {
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && worse(heap[child + 1]!, heap[child]!)) child++;
      if (!worse(heap[child]!, heap[at]!)) return;
      const moved = heap[at]!;
      heap[at] = heap[child]!;
      heap[child] = moved;
      at = child;
    }
  };
  for (let i = 0; i < size; i++) heap[i] = i;
  for (let i = (size >>> 1) - 1; i >= 0; i--) sink(i);
  let worst = rank(heap[0]!);
  for (let i = size; i < indices.length; i++) {
    if (sign * key[indices[i]!]! <= worst) continue;
    heap[0] = i;
    sink(0);
    worst = rank(heap[0]!);
  }
  return heap.sort((a, b) => (worse(a, b) ? 1 : -1)).map((position) => indices[position]!);
}

/** Indices 0..count-1 for which the predicate holds. */
export function indicesOf(count: number, holds: (index: number) => boolean): Uint32Array<ArrayBuffer> {
  const found = new Uint32Array(count);
  let n = 0;
  for (let i = 0; i < count; i++) if (holds(i)) found[n++] = i;
  return found.slice(0, n);
}
