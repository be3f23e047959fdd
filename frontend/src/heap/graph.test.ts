import { describe, expect, it } from "vitest";
import { dominators, retainedByClass } from "./dominators.ts";
import { type Heap, referrers } from "./heap.ts";
import { heapOf, randomHeap } from "./random.ts";
import { pathTo, RootKind, reach } from "./roots.ts";

const targets = (heap: Heap, i: number): number[] => [...heap.refs.subarray(heap.refStart[i], heap.refStart[i + 1])];

/** Objects reached from `from` without passing through `without`. */
function reached(heap: Heap, from: Iterable<number>, without = -1): Set<number> {
  const seen = new Set<number>();
  const stack = [...from].filter((i) => i !== without);
  while (stack.length) {
    const i = stack.pop()!;
    if (seen.has(i)) continue;
    seen.add(i);
    for (const target of targets(heap, i)) if (target !== without) stack.push(target);
  }
  return seen;
}

const graphs: [string, Heap][] = [];
for (let seed = 0; seed < 60; seed++) {
  const heap = randomHeap(seed, 1 + seed, 0.3 + (seed % 7) * 0.35);
  graphs.push([`random graph ${seed} (${heap.count} objects, ${heap.refs.length} references)`, heap]);
}

describe.each(graphs)("%s", (_, heap) => {
  const back = referrers(heap);
  const found = reach(heap, back);
  const all = Array.from({ length: heap.count }, (_, i) => i);

  it("turns references round", () => {
    const expected = all.map((): number[] => []);
    for (const i of all) for (const target of targets(heap, i)) expected[target]!.push(i);
    for (const i of all) expect([...back.to.subarray(back.start[i], back.start[i + 1])]).toEqual(expected[i]);
  });

  it("reaches every object from the roots, on a path of references that is as short as any", () => {
    const distance = new Map<number, number>();
    let layer = all.filter((i) => found.kind[i] === RootKind.module || found.kind[i] === RootKind.unreferenced);
    for (let far = 0; layer.length; far++) {
      for (const i of layer) distance.set(i, far);
      layer = [...new Set(layer.flatMap((i) => targets(heap, i)))].filter((i) => !distance.has(i));
    }
    for (const i of all) {
      const path = pathTo(found, i);
      expect(path.at(-1)).toBe(i);
      expect(found.kind[path[0]!]).not.toBe(RootKind.none);
      for (let step = 1; step < path.length; step++) expect(targets(heap, path[step - 1]!)).toContain(path[step]);
      if (distance.has(i)) expect(path.length - 1).toBe(distance.get(i));
      else expect(found.kind[path[0]!]).toBe(RootKind.cycle);
    }
  });

  it("takes as roots modules, what nothing refers to, and one object of each cycle held from outside", () => {
    const named = all.filter((i) => heap.classes[heap.classOf[i]!] === "module");
    const lone = all.filter((i) => back.start[i] === back.start[i + 1] && !named.includes(i));
    expect(all.filter((i) => found.kind[i] === RootKind.module)).toEqual(named);
    expect(all.filter((i) => found.kind[i] === RootKind.unreferenced)).toEqual(lone);
    const explained = reached(heap, [...named, ...lone]);
    for (const i of all.filter((i) => found.kind[i] === RootKind.cycle)) {
      expect(explained.has(i)).toBe(false);
      const cycle = reached(heap, [i]);
      // Whoever leads to a cycle's root belongs to the cycle.
      for (const other of all)
        if (!explained.has(other) && reached(heap, [other]).has(i)) expect(cycle.has(other)).toBe(true);
    }
    expect(new Set(found.roots).size).toBe(found.roots.length);
    expect(found.roots.length).toBe(all.filter((i) => found.kind[i] !== RootKind.none).length);
  });

  it("finds the dominators that leaving each object out in turn shows", () => {
    const { of, retained } = dominators(heap, back, found.roots);
    const without = all.map((i) => reached(heap, found.roots, i));
    const dominates = (a: number, b: number): boolean => a !== b && !without[a]!.has(b);
    for (const i of all) {
      const chain: number[] = [];
      for (let next = of[i]!; next < heap.count; next = of[next]!) chain.push(next);
      expect(chain.sort((a, b) => a - b)).toEqual(all.filter((other) => dominates(other, i)));
      const kept = all.filter((other) => other === i || dominates(i, other));
      expect(retained[i]).toBe(kept.reduce((sum, other) => sum + heap.sizes[other]!, 0));
    }
  });

  it("adds up what each class retains without counting anything twice", () => {
    const tree = dominators(heap, back, found.roots);
    const without = all.map((i) => reached(heap, found.roots, i));
    const expected = heap.classes.map((_, number) => {
      const kept = new Set<number>();
      for (const i of all) {
        if (heap.classOf[i] !== number) continue;
        for (const other of all) if (other === i || !without[i]!.has(other)) kept.add(other);
      }
      return [...kept].reduce((sum, other) => sum + heap.sizes[other]!, 0);
    });
    expect([...retainedByClass(heap, tree)]).toEqual(expected);
  });
});

describe("shapes of real heaps", () => {
  it("explains a leak: module, its namespace, the list, the object", () => {
    const names = ["module", "dict", "list", "app.Leaked", "function"];
    const heap = heapOf([[1], [2, 4], [3], [], [1]], names);
    const found = reach(heap, referrers(heap));
    expect(pathTo(found, 3)).toEqual([0, 1, 2, 3]);
    expect(found.kind[0]).toBe(RootKind.module);
  });

  it("walks a list of 200,000 links without recursion", () => {
    const count = 200_000;
    const heap = heapOf(Array.from({ length: count }, (_, i) => (i + 1 < count ? [i + 1] : [])));
    const back = referrers(heap);
    const found = reach(heap, back);
    expect(pathTo(found, count - 1)).toHaveLength(count);
    const { of, retained } = dominators(heap, back, found.roots);
    expect(of[count - 1]).toBe(count - 2);
    expect(retained[0]).toBe(count);
  });

  it("has nothing to say of an empty heap, without failing", () => {
    const heap = heapOf([]);
    const back = referrers(heap);
    const found = reach(heap, back);
    expect(found.roots).toHaveLength(0);
    expect(dominators(heap, back, found.roots).retained).toHaveLength(0);
  });
});
