import { describe, expect, it } from "vitest";
import { fileName } from "./download.ts";
import { brief, bytes, clean, counted, duration, percent, shortPath } from "./format.ts";

describe("figures", () => {
  it.each([
    [0, "0 blocks"],
    [1, "1 block"],
    [1200, "1,200 blocks"],
  ])("%i of a thing: %s", (value, words) => expect(counted(value, "block")).toBe(words));

  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [250 * 2 ** 20, "250 MiB"],
  ])("%i bytes: %s", (value, words) => expect(bytes(value)).toBe(words));

  it.each([
    [0.005, "5 µs"],
    [1.5, "1.5 ms"],
    [2500, "2.50 s"],
    [65000, "1 min 5 s"],
    [3720000, "1 h 2 min"],
  ])("%d ms: %s", (value, words) => expect(duration(value)).toBe(words));

  it.each([
    [0, "0.0%"],
    [0.0001, "<0.1%"],
    [0.1234, "12.3%"],
    [1, "100%"],
  ])("share %d: %s", (value, words) => expect(percent(value)).toBe(words));
});

describe("names of a server's", () => {
  it("cannot rearrange what stands around them", () => {
    expect(clean("a\u202egnp.exe\n\u0000")).toBe("a\ufffdgnp.exe\ufffd\ufffd");
    expect(clean("<b>Größe 名前")).toBe("<b>Größe 名前");
  });

  it("of files begin with the package", () => {
    expect(shortPath("/venv/lib/python3.11/site-packages/flask/app.py")).toBe("…/flask/app.py");
    expect(shortPath("/srv/app/views.py")).toBe("/srv/app/views.py");
  });
});

describe("long and hostile names", () => {
  it("lose their middle, and no name is half of a letter", () => {
    expect(clean("x".repeat(10_000))).toHaveLength(500);
    expect(clean(`head${"x".repeat(10_000)}tail`)).toMatch(/^headx+…x+tail$/);
    expect(brief("y".repeat(300))).toHaveLength(80);
    expect(clean("😀".repeat(5000))).not.toMatch(/\p{Cs}/u);
  });

  it("hide nothing and draw over nothing", () => {
    expect(clean("a\u200bb\u2060c\ufeffd\u00ade\u061cf")).toBe("a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf");
    expect(clean("e\u0301tude")).toBe("e\u0301tude");
    expect(clean(`e${"\u0301".repeat(50)}`)).toHaveLength(6);
  });

  it("of files keep their extension", () => {
    expect(fileName(`../../${"x".repeat(10_000)}`, ".speedscope.json")).toMatch(/^x+\.speedscope\.json$/);
    expect(fileName("x".repeat(10_000), ".png").length).toBe(120);
    expect(new TextEncoder().encode(fileName("名".repeat(500), ".png")).length).toBeLessThan(255);
    expect(fileName("\u202e/\u0000", ".png")).toBe("rbkit.png");
  });
});
