/**
 * The page has one unit of time, the millisecond, for moments and for spans. What comes in another one is turned where
 * it is read, and what goes out in another one where it is written.
 */

/** A moment: milliseconds since the epoch, by the clock of whoever tells it. */
export type EpochMs = number;

/** How long something takes, lasts or weighs, in milliseconds. */
export type Ms = number;

/** From one moment to another. */
export interface Span {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

export function fromSeconds(seconds: number): Ms;
export function fromSeconds(seconds: number | null): Ms | null;
export function fromSeconds(seconds: number | null): Ms | null {
  return seconds === null ? null : seconds * 1000;
}

export function fromMicroseconds(us: number): Ms;
export function fromMicroseconds(us: number | null): Ms | null;
export function fromMicroseconds(us: number | null): Ms | null {
  return us === null ? null : us / 1000;
}

/** As people and rates have them; and whole microseconds, as commands and files do. */
export const toSeconds = (ms: Ms): number => ms / 1000;
export const toMicroseconds = (ms: Ms): number => Math.round(ms * 1000);
