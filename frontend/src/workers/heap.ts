/**
 * Runs a HeapService in a thread of its own. A message is `{ id, call, args }`, its answer `{ id, result }` or
 * `{ id, error }`; questions are answered in their order.
 */

import { objectsIn } from "../heap/messages.ts";
import { HeapService } from "../heap/service.ts";

interface Question {
  readonly id: number;
  readonly call: keyof HeapService;
  readonly args: unknown[];
}

const service = new HeapService(objectsIn);
let before: Promise<unknown> = Promise.resolve();

async function answer({ id, call, args }: Question): Promise<void> {
  try {
    const method = service[call] as (...args: unknown[]) => unknown;
    postMessage({ id, result: await method.apply(service, args) });
  } catch (error) {
    postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
}

addEventListener("message", (event: MessageEvent<Question>) => {
  before = before.then(() => answer(event.data));
});
