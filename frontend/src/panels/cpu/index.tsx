import type { PanelModule } from "../panel.ts";

export const cpu: PanelModule = {
  id: "cpu",
  title: "CPU",
  icon: "M4 20h16M6 16h8M6 12h5M6 8h3",
  create: () => ({ View: () => null }),
};
