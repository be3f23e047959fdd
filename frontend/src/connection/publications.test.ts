import { beforeEach, describe, expect, it } from "vitest";
import { Publications } from "./publications.ts";

let publications: Publications;

const publish = (counter: number | null, events: object[] = []) =>
  publications.take(counter, events as { [key: string]: unknown }[], Uint8Array.of());

beforeEach(() => {
  publications = new Publications();
});

describe("publications", () => {
  it("are handed to all who listen, until they do not", () => {
    const [one, other]: [number[], number[]] = [[], []];
    const end = publications.listen((events) => one.push(events.length));
    publications.listen((events) => other.push(events.length));
    publish(1, [{ 0: 2 }]);
    end();
    publish(2, [{ 0: 2 }, { 0: 3 }]);
    expect([one, other]).toEqual([[1], [1, 2]]);
  });

  it("may be listened to no longer while one is handed out", () => {
    let heard = 0;
    const end = publications.listen(() => {
      heard++;
      end();
    });
    publications.listen(() => heard++);
    publish(1);
    publish(2);
    expect(heard).toBe(3);
  });

  it("are lost by gaps and by the server's word, but not twice", () => {
    for (const counter of [5, 6, 9]) publish(counter);
    expect(publications.lost.value).toBe(2);
    publications.dropped(2);
    expect(publications.lost.value).toBe(2);
    publications.dropped(9);
    expect(publications.lost.value).toBe(9);
  });

  it("are not lost where a server begins anew, or does not count", () => {
    for (const counter of [5, 6, 1, null, 2]) publish(counter);
    expect(publications.lost.value).toBe(0);
  });

  it("have other numbers after another connection was opened, and no losses once it is greeted", () => {
    for (const counter of [1, 3]) publish(counter);
    publications.renumber();
    publish(70);
    expect(publications.lost.value).toBe(1);
    publications.forgive();
    publish(72);
    expect(publications.lost.value).toBe(1);
  });
});
