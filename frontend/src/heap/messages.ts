/** The objects in what a server sends: an answer to `snapshot_chunk`, or a publication with `object_space_dump`. */

import { decode, isMap, text } from "../protocol/codec.ts";
import { EventType, Field } from "../protocol/constants.ts";

/** @throws what the decoder throws for a message that is no MessagePack, and an Error for an answer without objects. */
export function objectsIn(message: Uint8Array): unknown[] {
  const value = decode(message);
  if (!isMap(value)) throw new Error("A part of the snapshot cannot be read.");
  if (Array.isArray(value.objects)) return value.objects;
  // A refusal, or a chunk that is not made yet: a snapshot must not go on without it.
  if (!(Field.type in value)) throw new Error(text(value.message) ?? "A part of the snapshot holds no objects.");
  const events = value[Field.type] === EventType.collection ? value[Field.payload] : [value];
  const found: unknown[] = [];
  for (const event of Array.isArray(events) ? events : []) {
    const objects = isMap(event) && event[Field.type] === EventType.objectSpaceDump ? event[Field.payload] : null;
    if (Array.isArray(objects)) for (const object of objects) found.push(object);
  }
  return found;
}
