import type { PanelModule } from "../panel.ts";

export const processPanel: PanelModule = {
  id: "process",
  title: "Process",
  icon: "M4 5h16v14H4zM8 9h8M8 13h5",
  create: () => ({ View: () => null }),
};
