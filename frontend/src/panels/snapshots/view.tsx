import { useEffect, useRef } from "preact/hooks";
import { costOf } from "../../ui/costwords.ts";
import { clean, count } from "../../ui/format.ts";
import { ClassView, SnapshotContents } from "./classview.tsx";
import { ChangedObjects, DiffView } from "./diffview.tsx";
import { SnapshotList } from "./list.tsx";
import { ObjectView } from "./objectview.tsx";
import type { SnapshotStore, TrailStep } from "./store.ts";
import type { Progress } from "./take.ts";

export function SnapshotsView({ store }: { store: SnapshotStore }) {
  const some = store.list.value.length > 0;
  const place = store.trail.value.at(-1);
  return (
    <div class="panel snapshots">
      <div class="title">
        <h1>Heap snapshots</h1>
        <div class="toolbar">
          <OpenFile store={store} />
          <button
            class="button primary"
            type="button"
            disabled={!!store.progress.value || !store.link.open}
            onClick={() => void store.take()}
          >
            Take a snapshot
          </button>
        </div>
      </div>
      <p class="soft">
        <strong>What it costs: </strong>
        {clean(costOf(store.link.handshake.value)) || "Not connected."}
      </p>
      {store.progress.value && <Taking store={store} progress={store.progress.value} />}
      {store.problem.value && (
        <p class="notice bad" role="alert">
          {clean(store.problem.value)}
        </p>
      )}
      <div role="status" class={store.busy.value ? "notice" : "unseen"}>
        {store.busy.value && `${store.busy.value}…`}
      </div>
      {some ? (
        <div class="shelf">
          <SnapshotList store={store} />
          <div class="panel">
            <Trail store={store} />
            {place && <CurrentStep store={store} place={place} />}
          </div>
        </div>
      ) : (
        !store.progress.value && <Nothing />
      )}
    </div>
  );
}

function Nothing() {
  return (
    <div class="box empty">
      <h2>No snapshot yet</h2>
      <p>
        A snapshot holds every object of the process with its class, size and references. To find a leak take one, let
        the application work for a while, take a second and compare the two: the class that has grown leads to an
        object, and its path to a root says who holds on to it.
      </p>
    </div>
  );
}

const PHASES = {
  making: "The server walks the heap",
  receiving: "Receiving",
  reading: "Resolving references",
} as const;

function Taking({ store, progress }: { store: SnapshotStore; progress: Progress }) {
  const { phase, done, total } = progress;
  // Of a snapshot being made only a lower bound is known: there will be more objects.
  const share = total ? Math.min(done / total, phase === "making" ? 0.99 : 1) : undefined;
  const words = `${PHASES[phase]}: ${count(done)}${total ? ` of ${phase === "making" ? "at least " : ""}${count(total)}` : ""} objects`;
  return (
    <div class="notice taking" role="status">
      <span>{words}</span>
      <progress aria-label="Snapshot" max={1} {...(share === undefined ? {} : { value: share })} />
      <button class="button small" type="button" onClick={() => store.cancel()}>
        Cancel
      </button>
    </div>
  );
}

function OpenFile({ store }: { store: SnapshotStore }) {
  return (
    <label class="button file">
      Open a file
      <input
        class="unseen"
        type="file"
        accept=".rbkitheap"
        onChange={(event) => {
          const input = event.currentTarget;
          const file = input.files?.[0];
          if (file) void store.open(file);
          input.value = ""; // so that the same file can be chosen again
        }}
      />
    </label>
  );
}

/** Where one is, and the way back. */
function Trail({ store }: { store: SnapshotStore }) {
  const trail = store.trail.value;
  const top = useRef<HTMLElement>(null);
  const steps = useRef(trail.length);
  // Whoever clicked far down would else see the middle of what was opened.
  useEffect(() => {
    if (trail.length !== steps.current) top.current?.scrollIntoView({ block: "start" });
    steps.current = trail.length;
  }, [trail]);
  return (
    <nav aria-label="Where you are" class="trail" ref={top}>
      <ol>
        {trail.map((place, step) => (
          <li key={step}>
            {step === trail.length - 1 ? (
              <span aria-current="location">{titleOf(store, place)}</span>
            ) : (
              <button class="link" type="button" onClick={() => store.back(step)}>
                {titleOf(store, place)}
              </button>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}

function titleOf(store: SnapshotStore, place: TrailStep): string {
  const name = (key: number) => clean(store.find(key)?.name ?? "gone");
  switch (place.kind) {
    case "classes":
    case "objects":
      return name(place.key);
    case "class":
      return clean(place.name);
    case "object":
      return clean(place.title);
    case "diff":
      return `${name(place.before)} → ${name(place.after)}`;
    case "changed":
      return clean(place.name);
  }
}

function CurrentStep({ store, place }: { store: SnapshotStore; place: TrailStep }) {
  switch (place.kind) {
    case "classes":
    case "objects":
      return <SnapshotContents key={place.key} store={store} place={place} />;
    case "class":
      return <ClassView key={`${place.key} ${place.number}`} store={store} place={place} />;
    case "object":
      return <ObjectView key={`${place.key} ${place.index}`} store={store} place={place} />;
    case "diff":
      return <DiffView key={`${place.before} ${place.after}`} store={store} place={place} />;
    case "changed":
      return <ChangedObjects key={`${place.before} ${place.after} ${place.name}`} store={store} place={place} />;
  }
}
