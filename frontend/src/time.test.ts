import { describe, expect, it } from "vitest";
import { fromMicroseconds, fromSeconds, toMicroseconds, toSeconds } from "./time.ts";

describe("time", () => {
  it("comes in seconds and microseconds, or not at all", () => {
    expect([fromSeconds(1.5), fromMicroseconds(1500)]).toEqual([1500, 1.5]);
    expect([fromSeconds(null), fromMicroseconds(null)]).toEqual([null, null]);
  });

  it.each([1, 100, 333, 1000, 100_000, 16_777_217])("goes out in whole microseconds as it came: %i", (us) => {
    expect(toMicroseconds(fromMicroseconds(us))).toBe(us);
  });

  it("goes out in seconds for rates", () => expect(toSeconds(2500)).toBe(2.5));
});
