/** From an object's id to its index: open addressing over the ids themselves, 4 bytes a slot where a Map takes 40. */

const EMPTY = 0xffffffff;

export class IdIndex {
  readonly #ids: { get(index: number): number };
  #slots = new Uint32Array(1024).fill(EMPTY);
  #mask = 1023;
  #count = 0;

  /** @param ids the ids by index; those from `count` on are not looked at. */
  constructor(ids: { get(index: number): number }, count = 0) {
    this.#ids = ids;
    for (let index = 0; index < count; index++) this.add(index);
  }

  /** The index of an id, -1 when no object has it. */
  find(id: number): number {
    for (let slot = hash(id) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const index = this.#slots[slot] as number;
      if (index === EMPTY) return -1;
      if (this.#ids.get(index) === id) return index;
    }
  }

  /** Enters the id at `index`, which must be the next one and new. */
  add(index: number): void {
    if (++this.#count * 2 > this.#slots.length) this.#grow();
    this.#put(index);
  }

  #put(index: number): void {
    let slot = hash(this.#ids.get(index)) & this.#mask;
    while (this.#slots[slot] !== EMPTY) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = index;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 4).fill(EMPTY);
    this.#mask = this.#slots.length - 1;
    for (const index of old) if (index !== EMPTY) this.#put(index);
  }
}

// Ids are addresses: multiples of 8 or 16, above 2^32. Both halves are mixed, or whole pages would share a slot.
function hash(id: number): number {
  const mixed = Math.imul(id >>> 0, 0x9e3779b1) ^ Math.imul((id / 0x100000000) >>> 0, 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
