import { browserWorld } from "./connection/connection.ts";
import { Door } from "./connection/door.ts";
import { Link } from "./connection/link.ts";
import { panels } from "./panels/index.ts";
import type { Card, Panel, PanelModule } from "./panels/panel.ts";

export interface Mounted {
  readonly module: PanelModule;
  readonly panel: Panel;
}

/** The link, and every panel made once. */
export class App {
  readonly door = new Door();
  readonly link = new Link({ ...browserWorld, page: document.baseURI, servers: () => this.door.list() });
  readonly mounted: readonly Mounted[] = panels.map((module) => ({ module, panel: module.create(this.link) }));
  /** Those of all panels, as they stand on the overview. */
  readonly cards: readonly Card[] = this.mounted
    .flatMap(({ panel }) => panel.cards ?? [])
    .sort((a, b) => a.order - b.order);
}
