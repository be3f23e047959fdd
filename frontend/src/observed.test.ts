import { computed, effect } from "@preact/signals";
import { describe, expect, it } from "vitest";
import { Observed } from "./observed.ts";

describe("observed data", () => {
  it("are followed by whatever reads them, however deep they change", () => {
    const observed = new Observed({ counts: new Map<string, number>() });
    const sum = computed(() => [...observed.value.counts.values()].reduce((all, one) => all + one, 0));
    const seen: number[] = [];
    const stop = effect(() => void seen.push(sum.value));
    observed.change(({ counts }) => counts.set("a", 1));
    observed.change(({ counts }) => counts.set("b", 2));
    stop();
    observed.change(({ counts }) => counts.set("c", 3));
    expect(seen).toEqual([0, 1, 3]);
  });

  it("tell nobody where nothing has changed, or is only peeked at", () => {
    const observed = new Observed({ count: 0 });
    let runs = 0;
    let peeks = 0;
    effect(() => {
      runs++;
      expect(observed.value.count).toBe(observed.peek().count);
    });
    effect(() => {
      peeks++;
      observed.peek();
    });
    observed.change(() => false);
    expect([runs, peeks]).toEqual([1, 1]);
    observed.change((data) => data.count++);
    expect([runs, peeks]).toEqual([2, 1]);
  });

  it("may be others, and follow those then", () => {
    const observed = new Observed({ count: 1 });
    const before = observed.peek();
    observed.replace({ count: 5 });
    observed.change((data) => data.count++);
    expect([before.count, observed.value.count]).toEqual([1, 6]);
  });
});
