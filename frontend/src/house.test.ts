// What holds for the sources as a whole, and no linter knows.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

const HERE = new URL("./", import.meta.url);
const files = new Map(
  readdirSync(HERE, { recursive: true })
    .filter((name) => /\.tsx?$/.test(name))
    .map((name) => [name, new TextDecoder().decode(readFileSync(new URL(name, HERE)))]),
);
const sources = [...files].filter(([name]) => !/\.test\.tsx?$|\.d\.ts$/.test(name));

/** The rooms from the highest to the lowest; those in a line know nothing of each other. */
const FLOORS: readonly (readonly string[])[] = [
  ["main.tsx", "workers"],
  ["shell"],
  ["app.tsx"],
  ["panels"],
  ["ui"],
  ["heap", "connection"],
  ["protocol"],
  ["observed.ts", "route.ts", "theme.ts", "time.ts"],
];

const roomOf = (file: string) => file.split("/", 1)[0]!;
const floorOf = (file: string) => FLOORS.findIndex((rooms) => rooms.includes(roomOf(file)));

function imports(name: string, content: string): string[] {
  return [...content.matchAll(/(?:from|import) "(\.[^"]+\.tsx?)"/g)].map(([, path]) =>
    new URL(path!, new URL(name, HERE)).href.slice(HERE.href.length),
  );
}

describe("the front end's sources", () => {
  it("are all in a room", () => {
    expect(sources.length).toBeGreaterThan(100);
    expect(sources.map(([name]) => name).filter((name) => floorOf(name) < 0)).toEqual([]);
  });

  it("import downwards, and panels nothing of each other", () => {
    const upwards = sources.flatMap(([name, content]) =>
      imports(name, content)
        .filter((other) => roomOf(other) !== roomOf(name) && floorOf(other) <= floorOf(name))
        .map((other) => `${name} imports ${other}`),
    );
    expect(upwards).toEqual([]);
    const panelOf = (file: string) => /^panels\/(\w+)\//.exec(file)?.[1];
    const between = sources.flatMap(([name, content]) =>
      imports(name, content)
        .filter((other) => panelOf(name) && panelOf(other) && panelOf(name) !== panelOf(other))
        .map((other) => `${name} imports ${other}`),
    );
    expect(between).toEqual([]);
  });

  it("call no two things by one name", () => {
    const places = new Map<string, string[]>();
    for (const [name, content] of sources) {
      const declared = content.matchAll(/^(?:export )?(?:async )?(?:class|interface|type|function) (\w+)/gm);
      for (const word of new Set([...declared].map(([, word]) => word!))) {
        places.set(word, [...(places.get(word) ?? []), name]);
      }
    }
    expect([...places].filter(([, where]) => where.length > 1)).toEqual([]);
  });

  it("keep private what is private when the page runs, too", () => {
    const found = sources.filter(([, content]) => /^ +(private|protected) |\(private /m.test(content));
    expect(found.map(([name]) => name)).toEqual([]);
  });

  it("know uPlot in one place", () => {
    const users = sources.filter(([, content]) => /from "uplot"/.test(content));
    expect(users.map(([name]) => name)).toEqual(["ui/chart.tsx"]);
  });
});
