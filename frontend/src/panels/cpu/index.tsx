import "./cpu.css";
import { computed } from "@preact/signals";
import type { Link } from "../../connection/link.ts";
import type { Panel, PanelModule } from "../panel.ts";
import { BusyCard, RequestsCard, TopCard } from "./cards.tsx";
import { CpuSelection } from "./selection.ts";
import { CpuStore } from "./store.ts";
import { CpuView } from "./view.tsx";

function create(link: Link): Panel {
  const store = new CpuStore(link);
  const view = new CpuSelection(store);
  return {
    View: () => <CpuView view={view} />,
    badge: computed(() => (store.running.value ? "on" : null)),
    cards: [
      { title: "CPU", order: 10, width: 2, View: () => <BusyCard store={store} /> },
      { title: "Top functions, last minute", order: 20, width: 2, View: () => <TopCard store={store} /> },
      { title: "CPU by request, last minute", order: 30, width: 2, View: () => <RequestsCard store={store} /> },
    ],
  };
}

export const cpu: PanelModule = { id: "cpu", title: "CPU", icon: "M4 20h16M4 15h12M4 10h7M4 5h4", create };
