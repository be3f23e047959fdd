/** A function, or what stands for one: a request, a thread. Compared by identity: see FrameTable. */
export interface Frame {
  readonly label: string;
  readonly file: string;
  /** Of the function's definition; 0 where there is none. */
  readonly line: number;
  readonly kind: FrameKind;
}

export type FrameKind = "app" | "library" | "standard" | "request" | "thread" | "others" | "collector" | "omitted";

/** By name, then by place: the order of callees beside each other. 0 means the same function. */
export function compareFrames(one: Frame, other: Frame): number {
  if (one.label !== other.label) return one.label < other.label ? -1 : 1;
  if (one.file !== other.file) return one.file < other.file ? -1 : 1;
  return one.line - other.line;
}

/** What stands for callees that were too light to be kept apart, with the time that was spent in them. */
export const LIGHT = "(light stacks, not kept apart)";
/** The same of those that only waited. */
export const LIGHT_IDLE = "(light stacks that wait, not kept apart)";

/** [end of the file's name, label] of functions that only wait: the event loop's turn, locks, threads with no work. */
const IDLE: readonly (readonly [string, RegExp])[] = [
  ["gevent/hub.py", /^(Hub|WaitOperationsGreenlet|_?hub)\b.*\b(run|switch)$/],
  ["gevent/_threading.py", /./],
  ["threading.py", /\bwait(_for_tstate_lock)?$/],
  ["queue.py", /\bget$/],
  ["selectors.py", /\bselect$/],
  ["socket.py", /\baccept$/],
  ["concurrent/futures/thread.py", /^_worker$/],
  ["asyncio/base_events.py", /\b_run_once$/],
];

export function isIdle(frame: Frame): boolean {
  return (
    frame.label === LIGHT_IDLE || IDLE.some(([file, label]) => frame.file.endsWith(file) && label.test(frame.label))
  );
}

/** Functions by number. */
export class FrameTable {
  readonly frames: Frame[] = [];
  readonly #numbers = new Map<string, number>();

  number(label: string, file: string, line: number, kind: FrameKind = kindOf(file, label)): number {
    const key = `${label}\n${file}\n${line}`;
    let found = this.#numbers.get(key);
    if (found === undefined) {
      found = this.frames.push({ label, file, line, kind }) - 1;
      this.#numbers.set(key, found);
    }
    return found;
  }
}

// The profiler itself is no part of the application, wherever it is installed.
const LIBRARY = /[/\\](site-packages|dist-packages|gems|rbkit_websocket)[/\\]/;
const STANDARD = /[/\\]lib(64)?[/\\](python|ruby)[\d.]*[/\\]|^<(frozen|built-?in|internal)|^$/;

// Names that the server gives to what has no function: no file has them.
const COLLECTOR = "(garbage collection)";
const OMITTED = /^\(… \d+ frames …\)$/;

/** Whose code a function is, by its file; or what stands for it where there is none. */
export function kindOf(file: string, label = ""): FrameKind {
  if (file === "" || file.startsWith("<")) {
    if (label === COLLECTOR) return "collector";
    if (OMITTED.test(label)) return "omitted";
  }
  if (LIBRARY.test(file)) return "library";
  return STANDARD.test(file) ? "standard" : "app";
}

/**
 * Stacks as paths from node 0, the root: each node is a frame called by its parent. A parent's number is lower than
 * its children's, always.
 */
export class StackTree {
  parent = new Int32Array(1024);
  frame = new Int32Array(1024).fill(-1, 0, 1);
  size = 1;
  // Nodes by parent and frame: an open hash table of node numbers, 0 where it is empty. A Map with such keys is some ten
  // times slower, and this is asked for every frame of every stack.
  #slots = new Int32Array(4096);

  constructor() {
    this.parent[0] = -1;
  }

  /** The node of `frame` called by `parent`, made if need be. */
  child(parent: number, frame: number): number {
    const slot = this.#slot(parent, frame);
    const found = this.#slots[slot]!;
    if (found > 0) return found;
    const node = this.append(parent, frame);
    this.#slots[slot] = node;
    if (this.size * 2 > this.#slots.length) this.#rehash();
    return node;
  }

  /** Where a node is, or would be. */
  #slot(parent: number, frame: number): number {
    const mask = this.#slots.length - 1;
    const mixed = Math.imul(Math.imul(parent, 0x9e3779b1) ^ frame, 0x85ebca6b);
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    for (;;) {
      const node = this.#slots[slot]!;
      if (node === 0 || (this.parent[node] === parent && this.frame[node] === frame)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #rehash(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    for (let node = 1; node < this.size; node++) this.#slots[this.#slot(this.parent[node]!, this.frame[node]!)] = node;
  }

  /** A new node; for trees whose maker knows that there is no such one yet, and that do not use child(). */
  append(parent: number, frame: number): number {
    const node = this.size++;
    if (node === this.parent.length) {
      this.parent = grown(this.parent);
      this.frame = grown(this.frame);
    }
    this.parent[node] = parent;
    this.frame[node] = frame;
    return node;
  }

  /** The frames of a node, outermost first. */
  path(node: number): number[] {
    const frames: number[] = [];
    for (let at = node; at > 0; at = this.parent[at]!) frames.push(this.frame[at]!);
    return frames.reverse();
  }

  /** Adds every node's weight to its parent: what was spent in it becomes what was spent in it and below. */
  accumulate(weights: Float64Array): Float64Array {
    for (let node = weights.length - 1; node > 0; node--) weights[this.parent[node]!]! += weights[node]!;
    return weights;
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}
