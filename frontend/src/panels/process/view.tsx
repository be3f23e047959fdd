import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Disconnected } from "../../connection/commandqueue.ts";
import type { Link } from "../../connection/link.ts";
import type { HandshakeAnswer } from "../../protocol/answers.ts";
import { costOf, lingering } from "../../ui/costwords.ts";
import { bytes, clean, count, counted, duration } from "../../ui/format.ts";

interface Fact<Key extends string = string> {
  readonly key: Key;
  readonly words: string;
}

type OwnFact = Fact<keyof HandshakeAnswer>;

const PROCESS: readonly OwnFact[] = [
  { key: "process_name", words: "Process" },
  { key: "pid", words: "Process id" },
  { key: "pwd", words: "Directory" },
  { key: "application", words: "Application" },
  { key: "server_id", words: "Server id" },
  { key: "language", words: "Language" },
  { key: "python_version", words: "Python" },
];

const SERVER: readonly OwnFact[] = [
  { key: "rbkit_server_version", words: "Server version" },
  { key: "rbkit_protocol_version", words: "Protocol" },
  { key: "native", words: "Native sampler" },
  { key: "cpu_sampling", words: "How samples are taken" },
  { key: "cpu_profiling_mode", words: "Profiling mode" },
  { key: "heap_snapshot", words: "Heap snapshots" },
  { key: "object_trace", words: "Object tracing" },
  { key: "extensions", words: "Commands beyond the protocol" },
];

const CLOCKS: { readonly [clock: string]: string } = { wall: "wall clock", cpu: "CPU clock" };

const SWITCHES = new Set([
  "object_trace_enabled",
  "cpu_profiling_enabled",
  "clock_type",
  "cpu_interval_us",
  "cpu_events",
  "linger",
]);

/** What the process says of itself, what is switched on, and what can be asked of it. */
export function ProcessView({ link }: { link: Link }) {
  const problem = useSignal<string | null>(null);
  useEffect(() => {
    const look = () => void link.refreshHandshake().catch(() => {});
    look();
    const timer = window.setInterval(look, 5000);
    return () => window.clearInterval(timer);
  }, [link]);
  const handshake = link.handshake.value;
  if (!handshake) {
    return (
      <div class="panel">
        <h1>Process</h1>
        <div class="box empty">
          <h2>Not connected yet</h2>
          <p>The facts about the process come with the first handshake.</p>
        </div>
      </div>
    );
  }
  const facts = handshake.facts;
  const listed = new Set<string>([...PROCESS, ...SERVER].map(({ key }) => key));
  const others = [...facts.keys()].filter((key) => !listed.has(key) && !SWITCHES.has(key));
  return (
    <div class="panel">
      <h1>Process</h1>
      {problem.value && (
        <p class="notice bad" role="alert">
          {clean(problem.value)}
        </p>
      )}
      <div class="halves">
        <FactList title="What runs" facts={facts} rows={PROCESS} />
        <Switches link={link} problem={problem} />
        <FactList
          title="What it can do"
          facts={facts}
          rows={[...SERVER, ...others.map((key) => ({ key, words: key.replaceAll("_", " ") }))]}
        />
        <Actions link={link} problem={problem} />
      </div>
      <WorkerTable link={link} />
    </div>
  );
}

function FactList({
  title,
  facts,
  rows,
}: {
  title: string;
  facts: ReadonlyMap<string, string>;
  rows: readonly Fact[];
}) {
  return (
    <section class="box">
      <header>
        <h2>{title}</h2>
      </header>
      <dl class="facts">
        {rows
          .filter(({ key }) => facts.get(key))
          .map(({ key, words }) => (
            <div key={key}>
              <dt>{words}</dt>
              <dd>
                {key === "extensions"
                  ? clean(facts.get(key) ?? "").replaceAll(",", ", ")
                  : clean(facts.get(key) ?? "", 200)}
              </dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

interface Problem {
  value: string | null;
}

/** Runs a command; what goes wrong is shown, except that the connection ended, which the page shows anyway. */
async function attempt(link: Link, problem: Problem, work: () => Promise<unknown>): Promise<void> {
  problem.value = null;
  try {
    await work();
    await link.refreshHandshake();
  } catch (error) {
    if (!(error instanceof Disconnected)) problem.value = (error as Error).message;
  }
}

function Switches({ link, problem }: { link: Link; problem: Problem }) {
  const handshake = link.handshake.value;
  if (!handshake) return null;
  const { facts } = handshake;
  const every = handshake.interval === null ? "" : `every ${duration(handshake.interval)}`;
  return (
    <section class="box">
      <header>
        <h2>What is switched on</h2>
        <span class="soft">for everybody who watches this process; it {lingering(handshake)}</span>
      </header>
      <ul class="switches">
        <Switch
          on={handshake.cpuProfiling}
          title="CPU sampling"
          words={[CLOCKS[handshake.clock], every].filter(Boolean).join(", ")}
          disabled={!link.open}
          onSwitch={() =>
            attempt(link, problem, () =>
              link.command(
                handshake.cpuProfiling
                  ? "stop_cpu_profiling"
                  : link.has("start_cpu_polling")
                    ? "start_cpu_polling"
                    : "start_cpu_profiling",
              ),
            )
          }
        />
        <Switch
          on={handshake.objectTrace}
          title="Memory profile"
          words="objects made and gone, collections, gc statistics every 5 s"
          disabled={!link.open}
          onSwitch={() =>
            attempt(link, problem, () =>
              link.command(handshake.objectTrace ? "stop_memory_profile" : "start_memory_profile"),
            )
          }
        />
        {facts.has("cpu_events") && (
          <Switch
            on={facts.get("cpu_events") === "on"}
            title="Publishing of single samples"
            words="up to 5 MB a second to every client; this page does not need it"
            disabled={!link.open}
            onSwitch={() =>
              attempt(link, problem, () =>
                link.command(`cpu_events ${facts.get("cpu_events") === "on" ? "off" : "on"}`),
              )
            }
          />
        )}
      </ul>
    </section>
  );
}

interface SwitchProps {
  on: boolean;
  title: string;
  words: string;
  disabled: boolean;
  onSwitch: () => Promise<void>;
}

function Switch({ on, title, words, disabled, onSwitch }: SwitchProps) {
  return (
    <li>
      <button
        class="switch"
        type="button"
        role="switch"
        aria-checked={on}
        aria-label={title}
        disabled={disabled}
        onClick={() => void onSwitch()}
      >
        <span />
      </button>
      <div>
        <strong>{title}</strong>
        <div class="soft">{words}</div>
      </div>
    </li>
  );
}

function Actions({ link, problem }: { link: Link; problem: Problem }) {
  const collected = useSignal<string | null>(null);
  const busy = useSignal(false);
  const collect = async () => {
    busy.value = true;
    collected.value = null;
    const begin = performance.now();
    await attempt(link, problem, async () => {
      await link.command("trigger_gc");
      collected.value = `Collected; the answer took ${duration(performance.now() - begin)}.`;
    });
    busy.value = false;
  };
  return (
    <section class="box">
      <header>
        <h2>What can be asked of it</h2>
      </header>
      <ul class="switches actions">
        <li>
          <button class="button" type="button" disabled={!link.open || busy.value} onClick={() => void collect()}>
            Collect garbage
          </button>
          <div>
            <div class="soft">
              Stops the process while its collector looks at every object
              {link.handshake.value?.language === "python" ? ": about 0.1 s for a million of them." : "."}
            </div>
            <div role="status">{collected.value}</div>
          </div>
        </li>
        <li>
          <a class="button" href="#/snapshots">
            Heap snapshot
          </a>
          <div class="soft">{costOf(link.handshake.value)} It is taken in the snapshots panel.</div>
        </li>
      </ul>
    </section>
  );
}

function WorkerTable({ link }: { link: Link }) {
  const servers = link.connection.servers.value;
  if (servers.length === 0) return null;
  const own = link.handshake.value?.facts.get("server_id");
  return (
    <section class="box">
      <header>
        <h2>Workers of this application</h2>
        <span class="soft">{counted(servers.length, "server")}</span>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and keys have to reach it */}
      <section class="scroll" tabIndex={0} aria-label="Workers">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Process</th>
              <th scope="col">Started</th>
              <th scope="col" class="number">
                Memory (rss)
              </th>
              <th scope="col" class="number">
                Requests running
              </th>
              <th scope="col">
                <span class="unseen">Watch</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {servers.map((server) => (
              <tr key={server.id}>
                <td>
                  {server.name ? `${clean(server.name)} · ` : ""}
                  pid {server.pid ?? "?"}{" "}
                  {!server.alive && <span class="soft">{clean(server.problem ?? "does not answer", 200)}</span>}
                </td>
                <td class="soft">{server.started ? new Date(server.started).toLocaleString() : "–"}</td>
                <td class="number">{server.rss === null ? "–" : bytes(server.rss)}</td>
                <td class="number">{server.requests === null ? "–" : count(server.requests)}</td>
                <td class="number">
                  {server.id === own ? (
                    <span class="soft">watched now</span>
                  ) : (
                    <button class="button small" type="button" onClick={() => link.connection.connect(server.id)}>
                      Watch
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}
