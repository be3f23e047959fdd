import { useEffect, useState } from "preact/hooks";

export interface Asked<T> {
  /** The last answer, kept while the next is on its way; null before the first. */
  readonly answer: T | null;
  readonly error: string;
  readonly waiting: boolean;
}

/** Asks whenever one of `on` changes, and follows the newest question only. */
export function useAnswer<T>(ask: () => Promise<T>, on: readonly unknown[]): Asked<T> {
  const [asked, setAsked] = useState<Asked<T>>({ answer: null, error: "", waiting: true });
  useEffect(() => {
    let current = true;
    setAsked((before) => ({ ...before, waiting: true }));
    ask().then(
      (answer) => current && setAsked({ answer, error: "", waiting: false }),
      (error: Error) => current && setAsked({ answer: null, error: error.message, waiting: false }),
    );
    return () => {
      current = false;
    };
  }, on);
  return asked;
}
