import type { Signal } from "@preact/signals";

interface SearchFieldProps {
  readonly text: Signal<string>;
  /** Shown while it is empty. */
  readonly words: string;
  /** Said by screen readers, where `words` do not say it all. */
  readonly label?: string;
  readonly class?: string;
}

/** A field to search or filter with, at each key. */
export function SearchField({ text, words, label = words, class: more = "" }: SearchFieldProps) {
  return (
    <input
      class={`field ${more}`.trim()}
      type="search"
      placeholder={words}
      aria-label={label}
      value={text.value}
      onInput={(event) => {
        text.value = event.currentTarget.value;
      }}
    />
  );
}
