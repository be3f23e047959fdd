import { type Ms, toSeconds } from "../../time.ts";
import { duration, percent } from "../../ui/format.ts";
import type { CpuStore } from "./store.ts";

const INTERVALS: readonly Ms[] = [1, 2, 5, 10, 100];

/** On and off and the interval, for everybody who watches this process; the clock that is looked at, for this page. */
export function Controls({ store }: { store: CpuStore }) {
  const running = store.running.value;
  const disabled = store.busy.value || !store.link.open;
  const real = store.effectiveIntervalMs.value;
  const alone = store.both.value === false;
  return (
    <div class="toolbar">
      <button
        class={`button ${running ? "" : "primary"}`}
        type="button"
        disabled={disabled}
        onClick={() => void (running ? store.stop() : store.start())}
      >
        {running ? "Stop sampling" : "Start sampling"}
      </button>
      <label class="labelled">
        Clock
        <select
          class="field"
          disabled={disabled && alone}
          value={store.clock.value}
          title={
            "CPU: what computes. Wall: what takes time, waiting included. " +
            (alone ? "This server samples one of them, for everybody." : "Each sample has both: this changes nobody's.")
          }
          onChange={(event) => void store.choose(event.currentTarget.value === "wall" ? "wall" : "cpu")}
        >
          <option value="cpu">CPU time</option>
          <option value="wall">wall time</option>
        </select>
      </label>
      {store.link.has("set_cpu_interval") && (
        <label class="labelled">
          Every
          <select
            class="field"
            disabled={disabled}
            value={store.wishMs.value}
            onChange={(event) => void store.setInterval(Number(event.currentTarget.value) || 1)}
          >
            {INTERVALS.map((interval) => (
              <option key={interval} value={interval}>
                {duration(interval)}
              </option>
            ))}
          </select>
        </label>
      )}
      <span class="soft">
        {running
          ? real > 0
            ? `${real > store.intervalMs.value * 1.5 ? "really " : ""}every ${duration(real)}`
            : "on"
          : "off"}
      </span>
      <CostNote store={store} />
    </div>
  );
}

/** What it costs to look: for the server's thread, the sampler's, and what the application's own threads do for it. */
function CostNote({ store }: { store: CpuStore }) {
  const cost = store.cost;
  if (!cost) return null;
  const parts =
    `Of one core, over ${toSeconds(cost.over).toFixed(0)} s: the server's thread ${percent(cost.server)}, the sampler's ` +
    `${percent(cost.sampler)}, the application's threads for the sampler ${percent(cost.application)}`;
  return (
    <span class="soft" title={parts}>
      watching takes {percent(cost.all)} of one core
    </span>
  );
}
