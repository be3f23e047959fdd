/** Columns that grow: what a snapshot is collected into before its size is known. */

type Numbers = Float64Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** A typed array that doubles when it is full. */
export class GrowingColumn<T extends Numbers> {
  length = 0;
  #data: T;

  readonly #make: (length: number) => T;

  constructor(make: (length: number) => T, capacity = 1024) {
    this.#make = make;
    this.#data = make(capacity);
  }

  push(value: number): void {
    if (this.length === this.#data.length) {
      const larger = this.#make(this.#data.length * 2);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.length++] = value;
  }

  get(index: number): number {
    return this.#data[index] as number;
  }

  /** What has been collected, in an array of its own size. */
  done(): T {
    return this.#data.slice(0, this.length) as T;
  }
}

export const floats = (capacity?: number): GrowingColumn<Float64Array<ArrayBuffer>> =>
  new GrowingColumn((length) => new Float64Array(length), capacity);

export const integers = (capacity?: number): GrowingColumn<Uint32Array<ArrayBuffer>> =>
  new GrowingColumn((length) => new Uint32Array(length), capacity);

/** Texts, each kept once. */
export class Texts {
  readonly list: string[] = [];
  readonly #known = new Map<string, number>();

  /** The number of a text; a new one gets the next. */
  of(text: string): number {
    let number = this.#known.get(text);
    if (number === undefined) {
      number = this.list.length;
      this.#known.set(text, number);
      this.list.push(text);
    }
    return number;
  }
}
