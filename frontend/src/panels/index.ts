import { cpu } from "./cpu/index.tsx";
import type { PanelModule } from "./panel.ts";
import { processPanel } from "./process/index.tsx";

/** All panels in the order of the navigation; the overview comes before them. */
export const panels: readonly PanelModule[] = [cpu, processPanel];
