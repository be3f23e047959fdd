import { cpu } from "./cpu/index.tsx";
import { greenlets } from "./greenlets/index.tsx";
import { memory } from "./memory/index.tsx";
import type { PanelModule } from "./panel.ts";
import { processPanel } from "./process/index.tsx";
import { snapshots } from "./snapshots/index.tsx";

/** All panels in the order of the navigation; the overview comes before them. */
export const panels: readonly PanelModule[] = [cpu, memory, snapshots, greenlets, processPanel];
