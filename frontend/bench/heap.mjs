// How long a heap of a million objects takes: from messages, from a file, and each question about it.
// node bench/heap.mjs [objects]. Figures of one machine at one moment; nothing in CI depends on them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { encode } from "@msgpack/msgpack";
import { build } from "esbuild";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const directory = await mkdtemp(join(tmpdir(), "rbkit-bench-"));
try {
  const outfile = join(directory, "heap.mjs");
  const contents = `export { HeapService } from "./heap/service.ts"; export { objectsIn } from "./heap/messages.ts";`;
  await build({
    stdin: { contents, resolveDir: join(here, "..", "src"), loader: "ts" },
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "error",
  });
  await measure(await import(pathToFileURL(outfile)), Number(process.argv[2] ?? 1_000_000));
} finally {
  await rm(directory, { recursive: true });
}

/** Messages as a server sends them: modules with namespaces, instances with their dicts, lists, strings. */
function* messages(count) {
  const address = (i) => 0x7f0000000000 + i * 64;
  const file = (i) => `/srv/application/lib/python3.11/site-packages/package_${i % 300}/module_${i % 37}.py`;
  for (let start = 0; start < count; start += 1000) {
    const objects = [];
    for (let i = start; i < Math.min(count, start + 1000); i++) {
      const references = [address(0)];
      if (i % 5 === 0) for (let n = 1; n < 12; n++) references.push(address((i * 31 + n * 7919) % count));
      else references.push(address((i * 17 + 1) % count));
      const placed = i % 7 === 0;
      objects.push({
        3: address(i),
        4: i % 1000 === 0 ? "module" : `package_${i % 40}.models.Class${i % 1500}`,
        5: references,
        6: placed ? file(i) : null,
        7: placed ? i % 900 : null,
        8: 48 + (i % 13) * 16,
      });
    }
    yield encode({ id: 1, n: start / 1000, state: "done", objects });
  }
}

async function measure({ HeapService, objectsIn }, count) {
  const service = new HeapService(objectsIn);
  const timed = async (what, run) => {
    const begin = performance.now();
    const result = await run();
    console.log(`${what.padEnd(44)} ${(performance.now() - begin).toFixed(0).padStart(7)} ms`);
    return result;
  };
  console.log(`${count.toLocaleString("en")} objects, node ${process.version}`);
  const all = [...messages(count)];
  console.log(`${(all.reduce((sum, part) => sum + part.length, 0) / 2 ** 20).toFixed(0)} MiB of messages`);
  const key = service.begin();
  await timed("decode and collect the messages", () => all.forEach((part) => service.add(key, part)));
  await timed("finish (resolve references)", () => service.finish(key, "a", { time: 0, origin: "", expected: count }));
  await timed("first table of objects (referrers, roots)", () => service.objects(key, {}));
  await timed("classes, first time", () => service.classes(key));
  await timed("classes, sorted by count", () => service.classes(key, { order: "count" }));
  await timed("classes, filtered", () => service.classes(key, { filter: "class77" }));
  await timed("objects, sorted by size", () => service.objects(key, { order: "size" }));
  await timed("objects, sorted by referrers", () => service.objects(key, { order: "referrers" }));
  await timed("objects, filtered by text", () => service.objects(key, { filter: "models.class77" }));
  await timed("objects of one class", () => service.objects(key, { classNumber: 3 }));
  await timed("sites of one class", () => service.sites(key, 3));
  await timed("path to root", () => service.path(key, count - 1));
  await timed("dominators and retained sizes", () => service.retain(key));
  await timed("classes with retained sizes", () => service.classes(key, { order: "retained" }));
  await timed("objects, sorted by retained size", () => service.objects(key, { order: "retained" }));
  const file = await timed("save to a file", () => service.save(key));
  console.log(`${(file.size / 2 ** 20).toFixed(1)} MiB`);
  const copy = await timed("open the file", () => service.open(file));
  await timed("compare two", () => service.diff(key, copy.key));
  console.log(`${(process.memoryUsage().arrayBuffers / 2 ** 20).toFixed(0)} MiB of arrays for the two`);
}
