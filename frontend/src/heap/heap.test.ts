import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { HeapBuilder } from "./builder.ts";
import { Change, diff } from "./diff.ts";
import { BadFile, read, write } from "./file.ts";
import { histogram, sites } from "./histogram.ts";
import { IdIndex } from "./ids.ts";
import { objectsIn } from "./messages.ts";
import { FACTS, heapOf, randomHeap, seeded } from "./random.ts";
import { leading } from "./sort.ts";

const built = (...objects: unknown[]) => {
  const builder = new HeapBuilder();
  builder.add(objects);
  return { builder, heap: builder.finish({ ...FACTS, expected: objects.length }) };
};

describe("collecting", () => {
  it("keeps references between objects whatever order they come in, and counts those that lead out", () => {
    const { heap } = built(
      { 3: 32, 4: "list", 5: [16, 48, 99], 8: 88 },
      { 3: 16, 4: "app.User", 5: [], 6: "/app.py", 7: 3, 8: 48, 16: "/models.py", 17: 9 },
      { 3: 48, 4: "list", 5: [32], 8: 56 },
    );
    expect([...heap.refs]).toEqual([1, 2, 0]);
    expect([...heap.refStart]).toEqual([0, 2, 2, 3]);
    expect(heap.facts.dangling).toBe(1);
    expect(heap.classes).toEqual(["list", "app.User"]);
    expect(heap.places[1]).toEqual({ file: "/models.py", line: 9 });
    expect([heap.files[heap.fileOf[1]!], heap.lines[1]]).toEqual(["/app.py", 3]);
  });

  it("keeps the first of objects that come twice, as older servers send them", () => {
    const { heap } = built({ 3: 16, 4: "vm", 5: [] }, { 3: 16, 4: "machine_context", 5: [] });
    expect(heap.count).toBe(1);
    expect(heap.classes).toEqual(["vm", "machine_context"].slice(0, 1));
    expect(heap.facts.repeated).toBe(1);
  });

  it("survives what is no object", () => {
    const hostile = [null, 7, "x", [], {}, { 3: -1 }, { 3: Number.NaN }, { 3: "16" }, { 3: 2 ** 60 }];
    const { builder, heap } = built(...hostile, { 3: 16, 4: 5, 5: "no", 6: 7, 7: -3, 8: "big" });
    builder.add({ not: "a list" });
    expect(builder.refused).toBe(hostile.length + 1);
    expect(heap.count).toBe(1);
    expect(heap.classes).toEqual(["(no name)"]);
    expect([heap.sizes[0], heap.lines[0], heap.refs.length]).toEqual([0, 0, 0]);
  });

  it("keeps a class name as it is, markup and __proto__ included", () => {
    const names = ["<img src=x onerror=alert(1)>", "__proto__", "constructor"];
    const { heap } = built(...names.map((name, i) => ({ 3: 16 * (i + 1), 4: name })));
    expect(heap.classes).toEqual(names);
    expect(histogram(heap).map((row) => row.count)).toEqual([1, 1, 1]);
  });

  it("reads the answer to snapshot_chunk and the dumps of publications", () => {
    const object = { 3: 16, 4: "A", 5: [16], 8: 40 };
    const dump = { 0: 5, 1: 1.5, 2: [object], 10: 1, 11: 1 };
    const other = { 0: 6, 1: 1.5, 2: { count: 1 } };
    const publication = { 0: 7, 9: 3, 2: [other, dump] };
    for (const message of [{ id: 1, n: 0, objects: [object] }, dump, publication]) {
      const heap = built(...objectsIn(encode(message))).heap;
      expect([heap.count, heap.ids[0], heap.classes[0], heap.refs[0]]).toEqual([1, 16, "A", 0]);
    }
    expect(objectsIn(encode(other))).toEqual([]);
    expect(() => objectsIn(encode(5))).toThrow("cannot be read");
    expect(() => objectsIn(encode({ a: 1 }).subarray(0, 2))).toThrow();
  });
});

describe("the index of ids", () => {
  it("finds every id among neighbours and across 32 bits, and none other", () => {
    const ids = [...new Set(Array.from({ length: 5000 }, (_, i) => i * 16 + (i % 3) * 0x7f00_0000_0000))];
    const index = new IdIndex({ get: (i) => ids[i]! }, ids.length);
    ids.forEach((id, i) => {
      expect(index.find(id)).toBe(i);
    });
    expect(index.find(8)).toBe(-1);
  });
});

describe("sorting", () => {
  it.each([0, 1, 2, 3])("gives the first as a full sort does, ties in the order given (seed %i)", (seed) => {
    const random = seeded(seed);
    const keys = Float64Array.from({ length: 3000 }, () =>
      random() < 0.05 ? 2 ** 32 + Math.floor(random() * 1e9) : Math.floor(random() ** 4 * 1e4),
    );
    keys.fill(77, 100, 200);
    const all = Uint32Array.from(keys, (_, i) => (i * 7) % 3000);
    const place = new Map(Array.from(all, (index, position) => [index, position]));
    for (const wanted of [0, 1, 2, 99, 1000, 2999, 3000, 5000]) {
      for (const descending of [true, false]) {
        const sign = descending ? -1 : 1;
        const sorted = [...all].sort((a, b) => sign * (keys[a]! - keys[b]!) || place.get(a)! - place.get(b)!);
        expect([...leading(all, keys, wanted, descending)]).toEqual(sorted.slice(0, wanted));
      }
    }
    expect([...leading(new Uint32Array(0), keys, 10)]).toEqual([]);
  });
});

describe("tables", () => {
  it("counts, sizes and references by class add up to the heap", () => {
    const heap = randomHeap(5, 500, 2);
    const rows = histogram(heap);
    const sum = (key: "count" | "size" | "references") => rows.reduce((total, row) => total + row[key], 0);
    expect(sum("count")).toBe(500);
    expect(sum("size")).toBe(heap.sizes.reduce((a, b) => a + b, 0));
    expect(sum("references")).toBe(heap.refs.length);
    expect(rows.every((row) => row.retained === null)).toBe(true);
  });

  it("groups the objects of a class by file and line", () => {
    const at = (id: number, file: string | null, line: number | null) => ({ 3: id, 4: "f", 6: file, 7: line, 8: 10 });
    const { heap } = built(at(1, "/a", 5), at(2, "/a", 5), at(3, "/a", 6), at(4, null, null), { 3: 5, 4: "other" });
    expect(sites(heap, 0).map(({ file, line, count, size }) => [file, line, count, size])).toEqual([
      ["/a", 5, 2, 20],
      ["/a", 6, 1, 10],
      ["", 0, 1, 10],
    ]);
  });
});

describe("comparing two snapshots", () => {
  it("tells new, gone and grown objects apart, by class and one by one", () => {
    const before = built(
      { 3: 1, 4: "A", 8: 10 },
      { 3: 2, 4: "A", 8: 10 },
      { 3: 3, 4: "list", 8: 56 },
      { 3: 4, 4: "Gone", 8: 5 },
    ).heap;
    const after = built(
      { 3: 3, 4: "list", 8: 120 },
      { 3: 2, 4: "A", 8: 10 },
      { 3: 9, 4: "A", 8: 12 },
      { 3: 1, 4: "B", 8: 1 }, // the address of an A that died
    ).heap;
    const found = diff(before, after);
    const row = (name: string) => found.rows.find((row) => row.name === name);
    expect(row("A")).toMatchObject({ countBefore: 2, countAfter: 2, created: 1, createdSize: 12, gone: 1, grown: 0 });
    expect(row("B")).toMatchObject({ before: -1, after: 2, countBefore: 0, countAfter: 1, created: 1 });
    expect(row("Gone")).toMatchObject({ after: -1, countAfter: 0, gone: 1 });
    expect(row("list")).toMatchObject({ grown: 1, grownSize: 64, sizeBefore: 56, sizeAfter: 120, created: 0, gone: 0 });
    expect([...found.after]).toEqual([Change.grown, Change.same, Change.created, Change.created]);
    expect([...found.before]).toEqual([Change.gone, Change.same, Change.same, Change.gone]);
  });

  it("agrees with a comparison of sets on random heaps", () => {
    const before = randomHeap(1, 300, 1);
    const after = randomHeap(2, 200, 1);
    const { rows } = diff(before, after);
    const keys = (heap: typeof before) =>
      new Set(Array.from(heap.ids, (id, i) => `${id} ${heap.classes[heap.classOf[i]!]}`));
    const [old, now] = [keys(before), keys(after)];
    expect(rows.reduce((sum, row) => sum + row.created, 0)).toBe([...now].filter((key) => !old.has(key)).length);
    expect(rows.reduce((sum, row) => sum + row.gone, 0)).toBe([...old].filter((key) => !now.has(key)).length);
  });
});

describe("snapshot files", () => {
  it("loses nothing on the way to a file and back", async () => {
    const heap = { ...randomHeap(7, 400, 3), files: ["", "/päth/ü.py", '"quoted"\n'] };
    const back = await read(await write(heap, "before <b>the</b> leak"));
    expect(back).toEqual({ heap, name: "before <b>the</b> leak" });
  });

  it("takes an empty heap", async () => {
    const heap = heapOf([]);
    expect((await read(await write(heap, "none"))).heap).toEqual(heap);
  });

  const zip = (text: BlobPart) =>
    new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
  const small = () => write(heapOf([[1], [0]]), "x");

  it("refuses what is no snapshot", async () => {
    await expect(read(new Blob(["hello"]))).rejects.toThrow(BadFile);
    await expect(read(new Blob([]))).rejects.toThrow(BadFile);
    await expect(read(await zip("hello\n"))).rejects.toThrow("not a heap snapshot that this dashboard has saved");
    await expect(read(await zip("rbkit heap 2\n{}\n"))).rejects.toThrow("newer version");
    await expect(read(await zip("rbkit heap 1\n{}\n"))).rejects.toThrow("header is damaged");
    await expect(read(await zip("rbkit heap 1\n{"))).rejects.toThrow("not whole");
    await expect(read(await zip("rbkit heap 1\n{\n"))).rejects.toThrow("header is damaged");
  });

  it("refuses one that ends too early, wherever it was cut", async () => {
    const whole = await small();
    for (const length of [whole.size - 1, whole.size - 30, 20]) {
      await expect(read(whole.slice(0, length))).rejects.toThrow(BadFile);
    }
  });

  it("refuses one whose references lead nowhere", async () => {
    const heap = heapOf([[1], [0]]);
    const broken: Partial<typeof heap>[] = [
      { refs: Uint32Array.of(1, 2) },
      { classOf: Uint32Array.of(0, 7) },
      { refStart: Uint32Array.of(0, 3, 2) },
      { fileOf: Uint32Array.of(1, 0) },
      { sizes: Float64Array.of(1, -1) },
      { ids: Float64Array.of(1, 0.5) },
    ];
    for (const part of broken) {
      await expect(read(await write({ ...heap, ...part }, "x"))).rejects.toThrow("lead nowhere");
    }
  });
});
