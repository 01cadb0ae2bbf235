/** The core: one shift of one signal at 16 kHz in, one shift out, as in dtln/streaming/block.py. */

import type { Level } from "./facts.js";
import { LevelTracker } from "./level.js";
import type { Model, States } from "./model.js";

/** Denoises one signal at 16 kHz, shift by shift, delayed by block length minus shift. It owns buffers and states. */
export class BlockDenoiser {
  silencedBlocks = 0; // shifts that held samples that cannot be used, since the denoiser was made
  readonly #model: Model;
  readonly #level: Level;
  #tracker: LevelTracker | undefined;
  #states!: States;
  #input!: Float32Array;
  #overlap!: Float32Array; // what blocks so far add to the coming ones

  constructor(model: Model, level: Level) {
    this.#model = model;
    this.#level = level;
    this.reset();
  }

  /** Forgets the signal so far. */
  reset(): void {
    const { blockLength, blockShift } = this.#model;
    this.#tracker = this.#level === "auto" ? new LevelTracker(blockShift) : undefined;
    this.#states = this.#model.initialStates();
    this.#input = new Float32Array(blockLength);
    this.#overlap = new Float32Array(blockLength);
  }

  /** One shift in, one shift out. usable: false makes it silence, which is all that the states ever see of it. */
  async process(samples: Float32Array, usable: boolean): Promise<Float32Array> {
    const { blockLength, blockShift } = this.#model;
    this.#input.copyWithin(0, blockShift);
    if (usable) this.#input.set(samples, blockLength - blockShift);
    else {
      this.silencedBlocks += 1;
      this.#input.fill(0, blockLength - blockShift);
    }
    let heard = this.#input;
    let gain = 1;
    if (this.#tracker) {
      const correction = this.#tracker.follow(this.#input.subarray(blockLength - blockShift));
      gain = correction.gain;
      if (gain !== 1 || correction.offset !== 0) {
        heard = this.#input.map((sample) => (sample - correction.offset) * gain);
      }
    }
    const { denoised, states } = await this.#model.run(heard, this.#states);
    this.#states = states;
    this.#overlap.copyWithin(0, blockShift);
    this.#overlap.fill(0, blockLength - blockShift);
    for (let n = 0; n < blockLength; n++) this.#overlap[n] += denoised[n] / gain; // blocks may have different ones
    return this.#overlap.slice(0, blockShift);
  }
}
