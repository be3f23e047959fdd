import { useEffect, useState } from "preact/hooks";

/** The device's pixels to each of CSS; it changes when the page is zoomed or moved to another screen. */
export function usePixelRatio(): number {
  const [ratio, setRatio] = useState(window.devicePixelRatio);
  useEffect(() => {
    const look = () => setRatio(window.devicePixelRatio);
    // Not compared for equality, since a ratio like 1.1 is no number that a computer has.
    const query = window.matchMedia(
      `(min-resolution: ${ratio - 0.001}dppx) and (max-resolution: ${ratio + 0.001}dppx)`,
    );
    query.addEventListener("change", look);
    look();
    return () => query.removeEventListener("change", look);
  }, [ratio]);
  return ratio;
}
