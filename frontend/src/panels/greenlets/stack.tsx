import { clean } from "../../ui/format.ts";
import { ownFrame, type StackLevel } from "./model/decode.ts";

/** A stack, innermost frame first; the application's own innermost frame stands out. */
export function StackList({ frames }: { frames: readonly StackLevel[] }) {
  const own = ownFrame(frames);
  if (!frames.length) return <p class="soft names">It has no frame of Python.</p>;
  return (
    <ol class="stack">
      {frames.map((frame, depth) => (
        <li key={`${depth} ${frame.label}`} class={frame === own ? "own" : ""}>
          <span class="mono name">{clean(frame.label)}</span>{" "}
          <span class="soft mono name">
            {clean(frame.file)}
            {frame.line ? `:${frame.line}` : ""}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** What an entry of a list is about, and the application's own innermost frame there. */
export function About({ name, place }: { name: string; place: ReturnType<typeof ownFrame> }) {
  return (
    <span class="about">
      <strong class="name">{clean(name)}</strong>
      <span class="soft mono name">
        {place ? `${clean(place.label)}  ${clean(place.file)}:${place.line}` : "no stack"}
      </span>
    </span>
  );
}
