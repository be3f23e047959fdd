import { describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";
import { closeWords } from "./closecodes.ts";
import { addressWith, listServers, login, readServers, serverIn, socketAddress } from "./http.ts";

const answering =
  (status: number, body = "") =>
  async () =>
    new Response(body, { status });

describe("the address", () => {
  it("names the server that is watched, and nothing else changes", () => {
    const page = "http://h/p/?x=1#/cpu";
    expect(serverIn(page)).toBeNull();
    expect(serverIn("http://h/p/?server=")).toBeNull();
    const named = addressWith(page, "7-a&b");
    expect(named).toBe("http://h/p/?x=1&server=7-a%26b#/cpu");
    expect(serverIn(named)).toBe("7-a&b");
    expect(addressWith(named, null)).toBe(page);
  });

  it("of the socket stays under the page's prefix", () => {
    expect(socketAddress("http://h:8/app/__rbkit__/?a#/cpu", null)).toBe("ws://h:8/app/__rbkit__/?frames=binary");
    expect(socketAddress("https://h/__rbkit__/", "7-a b")).toBe("wss://h/__rbkit__/?server=7-a+b&frames=binary");
  });
});

describe("the door", () => {
  it.each([
    [200, '{"application": "shop", "servers": []}', "open"],
    [401, "", "locked"],
    [403, "rbkit: no.", "forbidden"],
    [503, "rbkit: down.", "unreachable"],
    [200, "<html>", "unreachable"],
  ])("status %i with %j is %s", async (status, body, kind) => {
    expect((await listServers(answering(status, body))).kind).toBe(kind);
  });

  it("is unreachable when nothing answers", async () => {
    const refused = async () => {
      throw new TypeError("refused");
    };
    expect((await listServers(refused)).kind).toBe("unreachable");
    await expect(login("t", refused)).rejects.toThrow("does not answer");
  });

  it("tells a right token from a wrong one, and passes the server's words on", async () => {
    expect(await login("t", answering(200))).toBe(true);
    expect(await login("t", answering(401))).toBe(false);
    await expect(login("t", answering(403, "rbkit: a page of 'x' may not connect here.\n"))).rejects.toThrow("may not");
  });

  it("reads servers with and without the newer figures", () => {
    const read = readServers({ application: "a", servers: [{ id: "1-a", pid: 1, rss: 5 }, { pid: 2 }, null] });
    expect(read).toMatchObject({
      kind: "open",
      obstacle: null,
      servers: [{ id: "1-a", pid: 1, rss: 5, requests: null, alive: true }],
    });
  });
});

describe("waiting", () => {
  it("doubles up to a limit, and begins anew", () => {
    const backoff = new Backoff(100, 1000, () => 1);
    expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([100, 200, 400, 800, 1000, 1000]);
    backoff.reset();
    expect(backoff.next()).toBe(100);
    expect(new Backoff(100, 1000, () => 0).next()).toBe(50);
  });

  it("says close codes in words", () => {
    expect(closeWords(1001, "")).toBe("The worker was told to stop.");
    expect(closeWords(1011, "no answer")).toContain("(no answer)");
    expect(closeWords(4000, "")).toContain("4000");
  });
});
