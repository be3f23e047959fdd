import { effect, type Signal, signal } from "@preact/signals";

export type Theme = "light" | "dark";

const KEY = "rbkit-theme";

/** The theme in force; the system's until the user has chosen. */
export const theme: Signal<Theme> = signal("light");

export function applyTheme(): void {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const system = (): Theme => (dark.matches ? "dark" : "light");
  const chosen = stored();
  theme.value = chosen ?? system();
  dark.addEventListener("change", () => {
    if (!stored()) theme.value = system();
  });
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
  });
}

export function toggleTheme(): void {
  theme.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // No storage (a private window): the choice lasts as long as the page.
  }
}

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null;
  }
}

/** The value of a CSS variable in the present theme, for what is drawn on a canvas. Reads `theme`. */
export function cssColor(name: `--${string}`): string {
  void theme.value; // whatever is drawn in an effect is drawn again in the other theme
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
