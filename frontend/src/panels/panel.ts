import type { ReadonlySignal } from "@preact/signals";
import type { FunctionComponent } from "preact";
import type { Link } from "../connection/link.ts";

/** A figure or list on the overview; panels bring their own. */
export interface Card {
  readonly title: string;
  /** Cells of the grid it takes: 1 is a figure, 2 a chart or list. */
  readonly width?: 1 | 2;
  /** Where they stand: lower first. */
  readonly order: number;
  readonly View: FunctionComponent;
}

/** A panel that lives as long as the page: its stores fill while another panel is shown. */
export interface Panel {
  readonly View: FunctionComponent;
  readonly cards?: readonly Card[];
  /** A short figure beside the name in the navigation, or null. */
  readonly badge?: ReadonlySignal<string | null>;
}

/** An entry of the registry (panels/index.ts). */
export interface PanelModule {
  /** In the address: `#/id`. */
  readonly id: string;
  readonly title: string;
  /** Path data of a 24 by 24 icon drawn with strokes. */
  readonly icon: string;
  /** Called once; stores begin to listen here. */
  create(link: Link): Panel;
}
