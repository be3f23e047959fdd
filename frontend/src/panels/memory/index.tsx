import "./memory.css";
import type { PanelModule } from "../panel.ts";
import { memoryCards } from "./cards.tsx";
import { MemoryFeed } from "./feed.ts";
import { MemoryView } from "./view.tsx";

export const memory: PanelModule = {
  id: "memory",
  title: "Memory",
  icon: "M3 17l5-6 4 4 4-8 5 6M3 21h18",
  create: (link) => {
    const feed = new MemoryFeed(link);
    return {
      View: () => <MemoryView feed={feed} />,
      cards: memoryCards(feed),
    };
  },
};
