import "./process.css";
import type { PanelModule } from "../panel.ts";
import { WorkersCard } from "./cards.tsx";
import { ProcessView } from "./view.tsx";

export const processPanel: PanelModule = {
  id: "process",
  title: "Process",
  icon: "M5 4h14v7H5zM5 13h14v7H5zM9 7.5h.01M9 16.5h.01",
  create: (link) => ({
    View: () => <ProcessView link={link} />,
    cards: [{ title: "Workers", order: 40, width: 1, View: () => <WorkersCard link={link} /> }],
  }),
};
