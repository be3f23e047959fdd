import { type Signal, signal } from "@preact/signals";

/** The panel that is shown: its id out of `#/id`; "" is the overview. */
export const route: Signal<string> = signal("");

export function followAddress(): void {
  const read = () => {
    const match = /^#\/([a-z-]*)/.exec(location.hash);
    route.value = match?.[1] ?? "";
  };
  window.addEventListener("hashchange", read);
  read();
}
