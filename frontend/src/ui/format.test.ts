import { describe, expect, it } from "vitest";
import { bytes, clean, duration, percent, shortPath } from "./format.ts";

describe("figures", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [250 * 2 ** 20, "250 MiB"],
  ])("%i bytes: %s", (value, words) => expect(bytes(value)).toBe(words));

  it.each([
    [5, "5 µs"],
    [1500, "1.5 ms"],
    [2_500_000, "2.50 s"],
    [65_000_000, "1 min 5 s"],
    [3_720_000_000, "1 h 2 min"],
  ])("%i us: %s", (value, words) => expect(duration(value)).toBe(words));

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
