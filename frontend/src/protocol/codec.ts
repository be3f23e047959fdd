import { Decoder } from "@msgpack/msgpack";

/** A decoded MessagePack map; integer keys are strings here, as with every JavaScript object. */
export type Packed = { readonly [key: string | number]: unknown };

/** One event: `{0: type, 1: timestamp, 2: payload, ...}` (see Field). */
export type RbkitEvent = Packed;

// A map with the key "__proto__" is refused by the decoder itself.
const decoder = new Decoder({ useBigInt64: false });

/**
 * Decodes one MessagePack value.
 *
 * @throws Error if the bytes are not one whole value.
 */
export function decode(bytes: Uint8Array): unknown {
  return decoder.decode(bytes);
}

export function isMap(value: unknown): value is Packed {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/**
 * Where a server should have sent a T: the keys of one, and whatever stands there. Servers are not believed, so each value
 * is read by text(), number() or another of these; but a key that no answer has is an error of the compiler.
 */
export type Unchecked<T> = { readonly [Key in keyof T]?: unknown };

/** `value` where a T should be; null if it is no map. */
export function uncheckedMap<T>(value: unknown): Unchecked<T> | null {
  return isMap(value) ? (value as Unchecked<T>) : null;
}

/** The maps in a list where each should be a T; what is no map is left out. */
export function uncheckedMaps<T>(value: unknown): Unchecked<T>[] {
  return (Array.isArray(value) ? value : []).filter(isMap) as Unchecked<T>[];
}

/** `value` as text; null for what is no text. Old servers send raw bytes for text. */
export function text(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  return null;
}

/** `value` as a number; null for what is none, and for NaN and the infinities, which no figure or axis can show. */
export function number(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  return typeof value === "bigint" ? Number(value) : null;
}
