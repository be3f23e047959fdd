/** One snapshot with what is computed from it, each thing when it is first asked for. */

import { type Dominators, dominators, retainedByClass } from "./dominators.ts";
import { type Edges, type Heap, referrers } from "./heap.ts";
import { type ClassRow, histogram, type SiteRow, sites } from "./histogram.ts";
import { pathTo, type Reach, type RootKind, reach } from "./roots.ts";
import { indicesOf, leading } from "./sort.ts";

/** An object as a table shows it. */
export interface ObjectRow {
  readonly index: number;
  readonly id: number;
  readonly name: string;
  readonly size: number;
  readonly retained: number | null;
  readonly references: number;
  readonly referrers: number;
  /** Where the object itself is from (code, modules, classes; Ruby: where it was allocated); empty if not known. */
  readonly file: string;
  readonly line: number;
  /** Why it is a root; `none` for most. */
  readonly root: RootKind;
}

export interface Page<T> {
  readonly total: number;
  readonly rows: readonly T[];
}

export type ObjectOrder = "size" | "retained" | "references" | "referrers";

/** Which objects, in which order. All conditions must hold. */
export interface ObjectQuery {
  /** Only those of this class. */
  readonly classNumber?: number;
  readonly className?: string;
  /** Only those from this file and line. */
  readonly site?: { readonly fileNumber: number; readonly line: number };
  /** Only those whose class or file contains this text, in any case. */
  readonly filter?: string;
  readonly order?: ObjectOrder;
  readonly ascending?: boolean;
  readonly offset?: number;
  readonly limit?: number;
}

export class Analysis {
  #back: Edges | null = null;
  #reached: Reach | null = null;
  #dominating: Dominators | null = null;
  #byClass: ClassRow[] | null = null;
  readonly #degrees: { references?: Uint32Array; referrers?: Uint32Array } = {};

  constructor(
    readonly heap: Heap,
    public name: string,
  ) {}

  get referrers(): Edges {
    this.#back ??= referrers(this.heap);
    return this.#back;
  }

  get reach(): Reach {
    this.#reached ??= reach(this.heap, this.referrers);
    return this.#reached;
  }

  get dominators(): Dominators {
    if (!this.#dominating) {
      this.#dominating = dominators(this.heap, this.referrers, this.reach.roots);
      this.#byClass = null;
    }
    return this.#dominating;
  }

  get hasRetained(): boolean {
    return this.#dominating !== null;
  }

  get classes(): readonly ClassRow[] {
    this.#byClass ??= histogram(this.heap, this.#dominating ? retainedByClass(this.heap, this.#dominating) : null);
    return this.#byClass;
  }

  sites(classNumber: number): SiteRow[] {
    return sites(this.heap, classNumber);
  }

  /** Objects by a query; `among` narrows it further. */
  objects(query: ObjectQuery, among?: (index: number) => boolean): Page<ObjectRow> {
    const { site, order = "size", ascending = false, offset = 0, limit = 100 } = query;
    const { classOf, fileOf, lines } = this.heap;
    const classNumber = query.className === undefined ? query.classNumber : this.heap.classes.indexOf(query.className);
    const text = query.filter?.toLowerCase() ?? "";
    const classFits = this.heap.classes.map((name) => name.toLowerCase().includes(text));
    const fileFits = this.heap.files.map((name) => name.toLowerCase().includes(text));
    const found = indicesOf(
      this.heap.count,
      (i) =>
        (classNumber === undefined || classOf[i] === classNumber) &&
        (!site || (fileOf[i] === site.fileNumber && lines[i] === site.line)) &&
        (!text || classFits[classOf[i]!]! || fileFits[fileOf[i]!]!) &&
        (!among || among(i)),
    );
    const sorted = leading(found, this.#keys(order), offset + limit, !ascending);
    return { total: found.length, rows: this.rows(sorted.subarray(offset)) };
  }

  #keys(order: ObjectOrder): ArrayLike<number> {
    if (order === "size") return this.heap.sizes;
    if (order === "retained") return this.dominators.retained;
    this.#degrees[order] ??= degrees(order === "references" ? this.heap.refStart : this.referrers.start);
    return this.#degrees[order];
  }

  /** What an object refers to, or what refers to it, the largest first. */
  neighbours(index: number, direction: "references" | "referrers", offset = 0, limit = 100): Page<ObjectRow> {
    const edges = direction === "references" ? { start: this.heap.refStart, to: this.heap.refs } : this.referrers;
    const all = edges.to.subarray(edges.start[index], edges.start[index + 1]);
    const sorted = leading(all, this.#dominating?.retained ?? this.heap.sizes, offset + limit);
    return { total: all.length, rows: this.rows(sorted.subarray(offset)) };
  }

  /** The shortest path that keeps an object alive, its root first. */
  path(index: number): ObjectRow[] {
    return this.rows(pathTo(this.reach, index));
  }

  /** The objects that dominate an object, the outermost first, it last: what to let go of to free it. */
  dominatorsOf(index: number): ObjectRow[] {
    const chain = [index];
    for (let next = this.dominators.of[index]!; next < this.heap.count; next = this.dominators.of[next]!) {
      chain.push(next);
    }
    return this.rows(chain.reverse());
  }

  rows(indices: ArrayLike<number>): ObjectRow[] {
    return Array.from(indices, (index) => this.#row(index));
  }

  #row(index: number): ObjectRow {
    const { heap, referrers: back } = this;
    return {
      index,
      id: heap.ids[index]!,
      name: heap.classes[heap.classOf[index]!]!,
      size: heap.sizes[index]!,
      retained: this.#dominating ? this.#dominating.retained[index]! : null,
      references: heap.refStart[index + 1]! - heap.refStart[index]!,
      referrers: back.start[index + 1]! - back.start[index]!,
      file: heap.files[heap.fileOf[index]!]!,
      line: heap.lines[index]!,
      root: this.reach.kind[index]!,
    };
  }
}

/** How many edges each object has. */
function degrees(start: Uint32Array): Uint32Array {
  return start.subarray(0, -1).map((begin, i) => start[i + 1]! - begin);
}
