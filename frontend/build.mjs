// Bundles src/ into the folder that the Python package serves. The output depends on nothing but the sources and the
// lock file: the same bytes on every machine.
import { copyFile, mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, context } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.RBKIT_DASHBOARD_OUT ?? join(here, "..", "rbkit_websocket", "http", "dashboard", "static");

// Each file src/workers/NAME.ts becomes NAME.js beside app.js: new Worker("NAME.js").
const workers = (await readdir(join(here, "src", "workers"), { recursive: false }).catch(() => []))
  .filter((name) => /^[a-z-]+\.ts$/.test(name))
  .sort();

const options = {
  absWorkingDir: here,
  entryPoints: {
    app: "src/main.tsx",
    ...Object.fromEntries(workers.map((name) => [name.slice(0, -3), `src/workers/${name}`])),
  },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  // The licences of what is bundled stay with it.
  legalComments: "eof",
  charset: "utf8",
  logLevel: "warning",
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
for (const name of await readdir(join(here, "public"))) {
  await copyFile(join(here, "public", name), join(out, name));
}
if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, sourcemap: "inline" })).watch();
} else {
  await build(options);
}
