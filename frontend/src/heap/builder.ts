/** Collects the objects of a snapshot, in whatever order and pieces they come, into a Heap. */

import { floats, integers, Texts } from "./columns.ts";
import type { Heap, HeapFacts, SourcePlace } from "./heap.ts";
import { IdIndex } from "./ids.ts";

const LARGEST = Number.MAX_SAFE_INTEGER;
const NO_PLACE: SourcePlace = { file: "", line: 0 };

/** Fields of a dump's objects as the protocol numbers them. */
enum Field {
  id = 3,
  name = 4,
  references = 5,
  file = 6,
  line = 7,
  size = 8,
  classFile = 16,
  classLine = 17,
}

export class HeapBuilder {
  readonly #ids = floats();
  readonly #classOf = integers();
  readonly #sizes = floats();
  readonly #fileOf = integers();
  readonly #lines = integers();
  readonly #refStart = integers();
  readonly #targets = floats();
  readonly #classes = new Texts();
  readonly #places: SourcePlace[] = [];
  readonly #files = new Texts();
  readonly #index = new IdIndex(this.#ids);
  #repeated = 0;
  /** Pieces of a dump that were no objects. */
  refused = 0;

  constructor() {
    this.#files.of("");
  }

  /** Objects collected so far. */
  get count(): number {
    return this.#ids.length;
  }

  /** Adds what a message carries: objects as maps with integer keys. What is no object is counted and left out. */
  add(objects: unknown): void {
    if (!Array.isArray(objects)) {
      this.refused++;
      return;
    }
    for (const object of objects) this.#addOne(object);
  }

  #addOne(object: Record<number, unknown> | null): void {
    const id = object?.[Field.id];
    if (!object || typeof id !== "number" || !(id >= 0 && id <= LARGEST)) {
      this.refused++;
      return;
    }
    if (this.#index.find(id) >= 0) {
      this.#repeated++;
      return;
    }
    this.#ids.push(id);
    this.#index.add(this.#ids.length - 1);
    this.#classOf.push(this.#classNumber(object));
    this.#sizes.push(natural(object[Field.size], LARGEST));
    const file = object[Field.file];
    this.#fileOf.push(typeof file === "string" ? this.#files.of(file) : 0);
    this.#lines.push(natural(object[Field.line], 0xffffffff));
    this.#refStart.push(this.#targets.length);
    const references = object[Field.references];
    if (Array.isArray(references)) {
      for (const target of references) if (typeof target === "number") this.#targets.push(target);
    }
  }

  #classNumber(object: Record<number, unknown>): number {
    const name = object[Field.name];
    const number = this.#classes.of(typeof name === "string" && name !== "" ? name : "(no name)");
    const file = object[Field.classFile];
    if (typeof file === "string" && !this.#places[number]?.file) {
      this.#places[number] = { file, line: natural(object[Field.classLine], 0xffffffff) };
    }
    return number;
  }

  /** The snapshot; the builder is spent. */
  finish(facts: Omit<HeapFacts, "repeated" | "dangling">): Heap {
    const count = this.#ids.length;
    const from = this.#refStart;
    const refs = integers(Math.max(this.#targets.length, 1));
    const refStart = new Uint32Array(count + 1);
    let dangling = 0;
    for (let i = 0; i < count; i++) {
      refStart[i] = refs.length;
      const end = i + 1 < count ? from.get(i + 1) : this.#targets.length;
      for (let e = from.get(i); e < end; e++) {
        const target = this.#index.find(this.#targets.get(e));
        if (target >= 0) refs.push(target);
        else dangling++;
      }
    }
    refStart[count] = refs.length;
    return {
      count,
      ids: this.#ids.done(),
      classOf: this.#classOf.done(),
      sizes: this.#sizes.done(),
      fileOf: this.#fileOf.done(),
      lines: this.#lines.done(),
      refStart,
      refs: refs.done(),
      classes: this.#classes.list,
      places: this.#classes.list.map((_, number) => this.#places[number] ?? NO_PLACE),
      files: this.#files.list,
      facts: { ...facts, repeated: this.#repeated, dangling },
    };
  }
}

function natural(value: unknown, largest: number): number {
  return typeof value === "number" && value > 0 ? Math.min(Math.floor(value), largest) : 0;
}
