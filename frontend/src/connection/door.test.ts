import { describe, expect, it } from "vitest";
import { Door, takeToken } from "./door.ts";

const PLACES = new Set(["/", "/cpu", "/memory"]);
const PAGE = "http://h/p/";

describe("an address", () => {
  it.each([
    ["abc", ["abc"]],
    ["a%2Bb%26c%25%23", ["a+b&c%#", "a%2Bb%26c%25%23"]],
    // As people write it who set it themselves.
    ["a&b+c=d", ["a&b+c=d"]],
    ["a#b#/cpu", ["a#b#/cpu"]],
    ["100%", ["100%"]],
    ["a%41", ["aA", "a%41"]],
    ["token=x", ["token=x"]],
    ["", []],
  ])("gives up #token=%s whole", (fragment, tokens) => {
    expect(takeToken(`${PAGE}#token=${fragment}`, PLACES)).toEqual({ tokens, strange: false, address: PAGE });
  });

  it.each(["tok=abc", "Token=abc", "abc", "/cpu?token=abc", "/tok", "token", "/cpu&tok=abc"])(
    "is rid of #%s",
    (fragment) => {
      const found = takeToken(`${PAGE}?x=1#${fragment}`, PLACES);
      expect(found).toEqual({ tokens: [], strange: true, address: `${PAGE}?x=1` });
    },
  );

  it.each(["", "#/", "#/cpu"])("keeps %j", (fragment) => {
    const address = `${PAGE}?server=7-a${fragment}`;
    expect(takeToken(address, PLACES)).toEqual({ tokens: [], strange: false, address });
  });

  it("is rid of a token in its query, too", () => {
    const found = takeToken(`${PAGE}?%74oken=a%2Bb&server=7-a#/cpu`, PLACES);
    expect(found).toEqual({ tokens: ["a+b"], strange: false, address: `${PAGE}?server=7-a#/cpu` });
  });
});

describe("the door", () => {
  let kept = true;
  let down = false;
  const asked: string[] = [];
  const fetcher = (async (page: string, request?: RequestInit) => {
    if (down) throw new TypeError("refused");
    if (page === "servers") {
      return kept && asked.includes("a%41")
        ? new Response('{"application": "shop", "servers": []}')
        : new Response("", { status: 401 });
    }
    const token = new URLSearchParams(String(request?.body)).get("token")!;
    asked.push(token);
    return new Response("", { status: token === "a%41" ? 200 : 401 });
  }) as typeof fetch;

  it("tries what was brought in each meaning, also when nobody answered at first", async () => {
    const door = new Door(fetcher);
    door.bring(takeToken(`${PAGE}#token=a%41`, PLACES));
    down = true;
    expect((await door.list()).kind).toBe("unreachable");
    down = false;
    expect((await door.list()).kind).toBe("open");
    expect(asked).toEqual(["aA", "a%41"]);
    await door.list();
    expect(asked).toHaveLength(2);
  });

  it("tells a wrong token from a cookie that was not kept", async () => {
    const door = new Door(fetcher);
    expect([await door.enter(["no"]), door.hindrance.value]).toEqual([false, "wrong"]);
    kept = false;
    expect([await door.enter(["a%41"]), door.hindrance.value]).toEqual([false, "cookie"]);
    door.bring(takeToken(`${PAGE}#tok=x`, PLACES));
    expect((await door.list()).kind).toBe("locked");
    expect(door.hindrance.value).toBe("strange");
  });
});
