import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followPresence, UNSEEN_MS } from "./presence.ts";

/** A page at the test's hand. */
class Page extends EventTarget {
  visibilityState: DocumentVisibilityState = "visible";

  is(state: DocumentVisibilityState): void {
    this.visibilityState = state;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

let page: Page;
let window: EventTarget & { setTimeout: unknown; clearTimeout: unknown };
let calls: string[];

const follow = () => {
  const connection = { rest: () => void calls.push("rest"), wake: () => void calls.push("wake") };
  followPresence(connection, window as unknown as Window, page as unknown as Document);
  calls.length = 0;
};

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  page = new Page();
  window = Object.assign(new EventTarget(), { setTimeout, clearTimeout });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a page that is not seen", () => {
  it.each([
    ["pagehide", "pageshow", () => window],
    ["freeze", "resume", () => page],
  ])("lets go at %s, and comes back at %s", (left, back, target) => {
    follow();
    target().dispatchEvent(new Event(left));
    expect(calls).toEqual(["rest"]);
    target().dispatchEvent(new Event(back));
    expect(calls).toEqual(["rest", "wake"]);
  });

  it("goes on in a hidden tab for a while, and not for ever", () => {
    follow();
    page.is("hidden");
    vi.advanceTimersByTime(UNSEEN_MS - 1);
    page.is("visible");
    page.is("hidden");
    vi.advanceTimersByTime(UNSEEN_MS - 1);
    expect(calls).toEqual(["wake"]);
    vi.advanceTimersByTime(1);
    expect(calls).toEqual(["wake", "rest"]);
  });

  it("does not come back before it is seen", () => {
    page.visibilityState = "hidden";
    follow();
    page.dispatchEvent(new Event("freeze"));
    page.dispatchEvent(new Event("resume"));
    expect(calls).toEqual(["rest"]);
    page.is("visible");
    expect(calls).toEqual(["rest", "wake"]);
  });

  it("opened behind others lets go as well", () => {
    page.visibilityState = "hidden";
    follow();
    vi.advanceTimersByTime(UNSEEN_MS);
    expect(calls).toEqual(["rest"]);
  });
});
