import "./snapshots.css";
import { computed } from "@preact/signals";
import type { PanelModule } from "../panel.ts";
import { SnapshotStore } from "./store.ts";
import { SnapshotsView } from "./view.tsx";

export const snapshots: PanelModule = {
  id: "snapshots",
  title: "Snapshots",
  icon: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  create: (link) => {
    const store = new SnapshotStore(link);
    return {
      View: () => <SnapshotsView store={store} />,
      badge: computed(() => (store.list.value.length ? String(store.list.value.length) : null)),
    };
  },
};
