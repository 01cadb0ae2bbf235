/**
 * Level and offset of a stream, followed block by block, so that the network hears it at a level that it knows. The
 * same as dtln/streaming/level.py, whose text says why the gain moves slowly, with the numbers of dtln/audio/levels.py.
 */

import { SAMPLE_RATE } from "./facts.js";

const LOWEST_LEVEL = -37; // dBFS
const HIGHEST_LEVEL = -13; // dBFS
const BEST_LEVEL = -30; // dBFS, where levels outside are brought to
const LARGEST_GAIN = 40; // dB
const OFFSET_RATIO = 1e-3; // 30 dB below the level
const CHANCE_RATIO = 25; // five standard deviations of the mean
const SILENT_POWER = 3e-10; // -95 dBFS
const LEVEL_WARM_UP = 0.5; // s of sound that get no gain, because little is known yet
const OFFSET_WARM_UP = 0.25; // s that keep their offset
const RISE = 0.1; // s, time constant with which the level, in dB, follows louder blocks
const FALL = 2; // dB per s by which it falls towards softer blocks
const SLEW = 3; // dB per s by which the gain moves, but for its first value
const OFFSET_TIME = 2; // s, time constant of the offset; until then it is the mean of all

/** What is done to a stream before the network: the offset is subtracted, then the gain multiplied. */
export interface Correction {
  offset: number;
  gain: number;
}

/** Follows one stream that comes in blocks of `blockShift` samples at 16 kHz; adds no delay. */
export class LevelTracker {
  readonly #seconds: number; // of a block
  readonly #rise: number;
  #blocks = 0;
  #sounding = 0;
  #level = -Infinity; // dBFS
  #gain = 0; // dB
  #wanted = 0;
  #mean = 0;
  #variance = 0; // of the means of blocks

  constructor(blockShift: number) {
    this.#seconds = blockShift / SAMPLE_RATE;
    this.#rise = 1 - Math.exp(-this.#seconds / RISE);
  }

  /** Takes the next block; returns what to do from this block on. */
  follow(samples: Float32Array): Correction {
    let [sum, squares] = [0, 0];
    for (const sample of samples) {
      sum += sample;
      squares += sample * sample;
    }
    const mean = sum / samples.length;
    const power = squares / samples.length - mean ** 2;
    this.#blocks += 1;
    if (power > SILENT_POWER) this.#followLevel(10 * Math.log10(power));
    return { offset: this.#offset(mean), gain: 10 ** (this.#gain / 20) };
  }

  #followLevel(level: number): void {
    this.#sounding += 1;
    if (this.#sounding === 1) this.#level = level;
    else if (level > this.#level) this.#level += this.#rise * (level - this.#level);
    else this.#level = Math.max(level, this.#level - FALL * this.#seconds);
    const warm = Math.ceil(LEVEL_WARM_UP / this.#seconds - 0.5); // 62.5 blocks become 62, as in Python
    if (this.#sounding < warm) return;
    if (levelGain(this.#level + this.#gain)) this.#wanted = levelGain(this.#level); // what is heard is outside
    const step = this.#sounding > warm ? SLEW * this.#seconds : Infinity;
    this.#gain += Math.min(Math.max(this.#wanted - this.#gain, -step), step);
  }

  #offset(mean: number): number {
    const share = Math.max(1 / this.#blocks, this.#seconds / OFFSET_TIME);
    const deviation = mean - this.#mean;
    this.#mean += share * deviation;
    this.#variance = (1 - share) * (this.#variance + share * deviation ** 2);
    const power = 10 ** (this.#level / 10);
    const threshold = Math.max(OFFSET_RATIO * power, SILENT_POWER, CHANCE_RATIO * share * this.#variance);
    return this.#mean ** 2 > threshold && this.#blocks * this.#seconds >= OFFSET_WARM_UP ? this.#mean : 0;
  }
}

/** The gain in dB that brings a level (dBFS) into the range that weights know: 0 inside it and for silence. */
function levelGain(level: number): number {
  if ((LOWEST_LEVEL <= level && level <= HIGHEST_LEVEL) || level === -Infinity) return 0;
  return Math.min(BEST_LEVEL - level, LARGEST_GAIN);
}
