import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { Change } from "./diff.ts";
import { areStrangers } from "./heap.ts";
import { objectsIn } from "./messages.ts";
import { FACTS } from "./random.ts";
import { RootKind } from "./roots.ts";
import { HeapService } from "./service.ts";

const WHOLE = { repeated: 0, dangling: 0 };
const facts = { time: 1.7e12, origin: "worker 7", process: "7-a", expected: 4 };

/** A leaking application: a module whose list holds `leaked` objects. */
function take(service: HeapService, leaked: number, name: string): number {
  const key = service.begin();
  const object = (id: number, kind: string, references: number[], size: number) => ({
    3: id,
    4: kind,
    5: references,
    6: null,
    7: null,
    8: size,
  });
  const items = Array.from({ length: leaked }, (_, i) => 1000 + i * 16);
  const chunks = [
    [object(1, "module", [2], 72), object(2, "dict", [3], 232), object(3, "list", items, 56 + 8 * leaked)],
    items.map((id) => object(id, "app.Leaked", [], 48)),
  ];
  for (const [n, objects] of chunks.entries()) service.add(key, encode({ id: 1, n, objects }));
  service.finish(key, name, { ...facts, expected: 3 + leaked });
  return key;
}

const service = new HeapService(objectsIn);
const before = take(service, 10, "before");
const after = take(service, 250, "after");

describe("a leak, found as by clicking", () => {
  it("comes first in the comparison by bytes", () => {
    const { rows, total } = service.diff(before, after);
    expect(total).toBe(2); // the list has grown
    expect(rows[0]).toMatchObject({ name: "app.Leaked", countBefore: 10, countAfter: 250, created: 240, gone: 0 });
    expect(rows[1]).toMatchObject({ name: "list", grown: 1, grownSize: 8 * 240 });
  });

  it("leaves the profiler's own classes out until it is asked for all", () => {
    const [earlier, later] = [1, 2].map((objects) => {
      const key = service.begin();
      const list = Array.from({ length: objects }, (_, i) => ({ 3: 16 * (i + 1), 4: "rbkit_websocket.x.Y", 8: 48 }));
      service.add(key, encode({ id: 1, n: 0, objects: list }));
      service.finish(key, "own", { ...facts, expected: objects });
      return key;
    }) as [number, number];
    expect(service.diff(earlier, later).total).toBe(0);
    const { rows } = service.diff(earlier, later, { all: true });
    expect(rows).toMatchObject([{ name: "rbkit_websocket.x.Y", created: 1 }]);
  });

  it("shows the new objects, and why one is alive", () => {
    const { rows, total } = service.changed(before, after, Change.created, { limit: 5 });
    expect(total).toBe(240);
    expect(rows).toHaveLength(5);
    const path = service.path(after, rows[0]!.index);
    expect(path.map((row) => row.name)).toEqual(["module", "dict", "list", "app.Leaked"]);
    expect(path[0]!.root).toBe(RootKind.module);
  });

  it("tells what would be freed with the list", () => {
    const list = service.objects(after, { filter: "LIST" }).rows[0]!;
    expect(list.retained).toBeNull();
    service.retain(after);
    expect(service.objects(after, { filter: "list", order: "retained" }).rows[0]!.retained).toBe(
      56 + 8 * 250 + 250 * 48,
    );
    const leaked = service.neighbours(after, list.index, "references").rows[0]!;
    expect(service.dominatorsOf(after, leaked.index).map((row) => row.name)).toEqual([
      "module",
      "dict",
      "list",
      "app.Leaked",
    ]);
    expect(service.neighbours(after, leaked.index, "referrers").rows.map((row) => row.name)).toEqual(["list"]);
    const classes = service.classes(after, { order: "retained" }).rows;
    expect(classes.map((row) => row.name)).toEqual(["module", "dict", "list", "app.Leaked"]);
    expect(classes[3]!.retained).toBe(250 * 48);
  });
});

describe("questions", () => {
  it("sorts, filters and pages classes", () => {
    expect(service.classes(after, { order: "name", ascending: true }).rows.map((row) => row.name)).toEqual([
      "app.Leaked",
      "dict",
      "list",
      "module",
    ]);
    expect(service.classes(after, { filter: "leak" }).total).toBe(1);
    const page = service.classes(after, { order: "count", offset: 1, limit: 2 });
    expect([page.total, page.rows.length]).toEqual([4, 2]);
  });

  it("saves to a file and opens it again under its name", async () => {
    const copy = await service.open(await service.save(after));
    expect(copy).toMatchObject({ name: "after", count: 253, facts: { ...facts, expected: 253 } });
    expect(service.diff(after, copy.key).total).toBe(0);
    service.drop(copy.key);
    expect(() => service.classes(copy.key)).toThrow("not there any more");
  });

  it("compares two processes by their sums alone", () => {
    const other = service.begin();
    const objects = [1, 2, 3].map((id) => ({ 3: id, 4: "app.Leaked", 8: 48 }));
    service.add(other, encode({ objects }));
    service.finish(other, "other", { ...facts, process: "8-b", origin: "worker 8" });
    const same = service.begin();
    service.add(same, encode({ objects: objects.map((one) => ({ ...one, 3: one[3] + 100 })) }));
    service.finish(same, "elsewhere", { ...facts, process: "9-c", origin: "worker 9" });
    // Not one address is the same, and yet nothing is more or less.
    expect(service.diff(other, same).total).toBe(0);
    expect(service.diff(other, after).rows[0]).toMatchObject({ name: "app.Leaked", countBefore: 3, countAfter: 250 });
    service.drop(other);
    service.drop(same);
  });

  it.each([
    ["one process", { process: "7-a", origin: "x" }, { process: "7-a", origin: "y" }, false],
    ["two of one pid", { process: "1-a", origin: "x" }, { process: "1-b", origin: "x" }, true],
    ["files of before", { process: "", origin: "x (pid 1)" }, { process: "7-a", origin: "x (pid 7)" }, true],
    ["a file that does not tell", { process: "", origin: "" }, { process: "7-a", origin: "x" }, false],
  ])("knows %s", (_, one, other, strangers) => {
    expect(areStrangers({ ...FACTS, ...one, ...WHOLE }, { ...FACTS, ...other, ...WHOLE })).toBe(strangers);
  });

  it("renames, and answers with words to what cannot be", () => {
    expect(service.rename(before, "<b>quiet</b>").name).toBe("<b>quiet</b>");
    expect(() => service.path(after, 9999)).toThrow("no such object");
    expect(() => service.path(after, -1)).toThrow("no such object");
    expect(() => service.add(999, encode({}))).toThrow("not being taken");
    expect(() => service.finish(999, "", facts)).toThrow("not being taken");
  });

  it("never answers with more than a page can show", () => {
    const large = take(service, 3000, "large");
    expect(service.objects(large, { limit: 1e9 }).rows).toHaveLength(1000);
    service.drop(large);
  });

  it("counts what is missing when parts were lost", () => {
    const key = service.begin();
    service.add(
      key,
      encode({
        objects: [{ 3: 1, 4: "A" }],
      }),
    );
    const summary = service.finish(key, "partial", { ...facts, expected: 5 });
    expect([summary.count, summary.facts.expected]).toEqual([1, 5]);
  });
});
