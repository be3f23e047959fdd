import { duration } from "../../ui/format.ts";
import type { CpuStore } from "./store.ts";

const INTERVALS = [1000, 2000, 5000, 10_000, 100_000];

/** On and off, the clock and the interval: for everybody who watches this process. */
export function Controls({ store }: { store: CpuStore }) {
  const settings = store.settings.value;
  const running = store.running.value;
  const disabled = store.busy.value || !store.link.open;
  const real = store.effectiveIntervalUs.value;
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
          disabled={disabled}
          value={running ? store.clock.value || settings.clock : settings.clock}
          title="CPU: what computes. Wall: what takes time, waiting included."
          onChange={(event) => {
            const clock = event.currentTarget.value === "wall" ? "wall" : "cpu";
            void store.configure({ ...settings, clock, waits: settings.waits && clock === "wall" });
          }}
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
            value={settings.intervalUs}
            onChange={(event) =>
              void store.configure({ ...settings, intervalUs: Number(event.currentTarget.value) || 1000 })
            }
          >
            {INTERVALS.map((us) => (
              <option key={us} value={us}>
                {duration(us)}
              </option>
            ))}
          </select>
        </label>
      )}
      {store.link.has("wait_profile") && settings.clock === "wall" && (
        <label class="labelled">
          <input
            type="checkbox"
            disabled={disabled}
            checked={settings.waits}
            onChange={(event) => void store.configure({ ...settings, waits: event.currentTarget.checked })}
          />
          waiting requests too
        </label>
      )}
      <span class="soft">
        {running
          ? real > 0
            ? `${real > store.intervalUs.value * 1.5 ? "really " : ""}every ${duration(real)}`
            : "on"
          : "off"}
      </span>
    </div>
  );
}
