// The switch between inference and training, and the size of the batch whose statistics training uses.

import { element } from "../dom.js";
import { batchSizes, change, state } from "../state.js";
import { Switch } from "./parts.js";

/** Buttons for the mode of the page; with `sizes` also for the size of the batch. */
export class ModeSwitch {
  constructor({ sizes = false } = {}) {
    this.mode = new Switch(
      "mode",
      [
        [false, "inference"],
        [true, "training"],
      ],
      (training) => change({ training }),
    );
    this.size = new Switch("batch", [], (batchSize) => change({ batchSize, training: true }));
    this.size.root.hidden = !sizes;
    this.root = element("span", { class: "mode-switch" }, this.mode.root, this.size.root);
  }

  /** Show the mode of the page. */
  update() {
    this.mode.show(state.training);
    this.size.setChoices(batchSizes().map((size) => [size, String(size)]));
    this.size.show(state.training ? state.batch.length : null);
  }
}
