import { Link } from "./connection/link.ts";
import { panels } from "./panels/index.ts";
import type { Panel, PanelModule } from "./panels/panel.ts";

export interface Mounted {
  readonly module: PanelModule;
  readonly panel: Panel;
}

/** The link, and every panel made once. */
export class App {
  readonly link = new Link();
  readonly mounted: readonly Mounted[] = panels.map((module) => ({ module, panel: module.create(this.link) }));
}
