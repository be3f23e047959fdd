import { compareFrames, type Frame } from "./tree.ts";

/** Callees that are too thin to be drawn one by one, as a group that stays the same while samples come in. */
export interface Others {
  /** Lighter than this share of the whole graph. */
  readonly below: number;
  /** Of a part of them the first and the last by name; null: all. */
  readonly from: Frame | null;
  readonly to: Frame | null;
}

/** A step on the way down: to a callee, or into the thin ones of what was reached so far. */
export type Step = Frame | Others;

/** The way to a bar by its frames: node numbers do not outlive a graph. */
export type Path = readonly Step[];

export function isOthers(step: Step): step is Others {
  return "below" in step;
}

/** Whether a group has a callee of so much weight, out of `all`. */
export function holds(others: Others, frame: Frame, weight: number, all: number): boolean {
  return (
    weight / all < others.below &&
    (others.from === null || compareFrames(frame, others.from) >= 0) &&
    (others.to === null || compareFrames(frame, others.to) <= 0)
  );
}
