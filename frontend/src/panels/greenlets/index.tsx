import "./greenlets.css";
import { computed } from "@preact/signals";
import type { PanelModule } from "../panel.ts";
import { greenletCards } from "./cards.tsx";
import { TaskStore } from "./store.ts";
import { GreenletsView } from "./view.tsx";

export const greenlets: PanelModule = {
  id: "greenlets",
  title: "Greenlets",
  icon: "M5 4v16M12 4v16M19 4v16M5 9h4M12 14h4",
  create: (link) => {
    const store = new TaskStore(link);
    return {
      View: () => <GreenletsView store={store} />,
      cards: greenletCards(store),
      badge: computed(() => (store.blocked.value?.now ? "!" : null)),
    };
  },
};
