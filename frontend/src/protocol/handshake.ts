import { fromMicroseconds, fromSeconds, type Ms } from "../time.ts";
import type { HandshakeAnswer } from "./answers.ts";
import { isMap, number, text } from "./codec.ts";
import { Field } from "./constants.ts";
import type { Answer } from "./frames.ts";

/** What a server says of itself, of whatever kind it is. */
export interface Handshake {
  readonly serverVersion: string;
  readonly protocolVersion: string;
  readonly processName: string;
  readonly directory: string;
  readonly pid: number | null;
  readonly objectTrace: boolean;
  readonly cpuProfiling: boolean;
  /** "wall" or "cpu"; empty where not said. */
  readonly clock: string;
  /** Commands beyond the protocol; empty for a server that is not ours. */
  readonly extensions: ReadonlySet<string>;
  /** Empty where not said, as by every server that is not ours. */
  readonly language: string;
  /** Between CPU samples; null where not said. */
  readonly interval: Ms | null;
  /** For how long profilers go on after the last client has left; null where not said: perhaps for ever. */
  readonly linger: Ms | null;
  /** Every key as text, for display. */
  readonly facts: ReadonlyMap<string, string>;
}

/** null if the answer is no handshake. */
export function readHandshake(answer: Answer): Handshake | null {
  const payload = isMap(answer) ? answer[Field.payload] : null;
  if (!isMap(payload)) return null;
  const facts = new Map<string, string>();
  for (const [key, value] of Object.entries(payload)) facts.set(key, text(value) ?? String(value));
  const fact = (key: keyof HandshakeAnswer) => facts.get(key) ?? "";
  const figure = (key: keyof HandshakeAnswer) =>
    fact(key) && Number.isFinite(Number(fact(key))) ? Number(fact(key)) : null;
  const extensions = fact("extensions").split(",");
  return {
    serverVersion: fact("rbkit_server_version"),
    protocolVersion: fact("rbkit_protocol_version"),
    processName: fact("process_name"),
    directory: fact("pwd"),
    pid: number(payload.pid),
    objectTrace: fact("object_trace_enabled") === "1",
    cpuProfiling: fact("cpu_profiling_enabled") === "1",
    clock: fact("clock_type"),
    extensions: new Set(extensions.map((name) => name.trim()).filter(Boolean)),
    language: fact("language"),
    interval: fromMicroseconds(figure("cpu_interval_us")),
    linger: fromSeconds(figure("linger")),
    facts,
  };
}
