/**
 * Resampling of a stream: a linear-phase filter of 3.4 ms. The same filter as in dtln/audio/stream_resampling.py, whose
 * text says why; this one computes each sample by itself, not in frames, and is up to 0.75 ms ahead of it.
 */

import { checkedRate } from "./options.js";

const ATTENUATION = 85; // dB, of what lies beyond the transition
const TRANSITION = 0.1; // width of the transition, as a share of the frequency in its middle: half the lower rate
// Kaiser's formulas: length and shape of a window for an attenuation and the width of a transition.
const BETA = 0.1102 * (ATTENUATION - 8.7);
const HALF_LENGTH = (ATTENUATION - 7.95) / (14.36 * TRANSITION); // samples of the lower rate: 53.7
const STEPS = 1024; // for each of them the filter is computed; in between it is interpolated, 1e-6 beside the truth
const LARGEST_TABLE = 1 << 19; // weights; usual pairs of rates need 324 to 70 thousand

let prototype: Float64Array | undefined;

/**
 * Resamples one channel that comes in pieces. Output sample n lies where input sample n * rate / newRate lies; before
 * the first one there was silence. However the input is cut, the samples are the same, bit for bit.
 *
 * The filter is flat up to 0.95 times half the lower rate (7.6 kHz for 16 kHz), 6 dB down at half of it, and 85 dB
 * down from 1.05 times that. reach: `needed(n + 1)` is at most n * rate / newRate + reach.
 */
export class StreamResampler {
  readonly reach: number;
  readonly #up: number; // output sample n is at input n * down / up
  readonly #down: number;
  readonly #half: number; // input samples before and after
  readonly #table: Float32Array[] | undefined; // a filter for each place between two input samples
  #recent = new Float32Array(0); // input that the next samples need
  #origin = 0; // the index of the first of them
  #taken = 0;
  #done = 0;

  /** Rates are whole numbers of Hz, 1000 to 768000; RangeErrors for others. */
  constructor(rate: number, newRate: number) {
    [rate, newRate].forEach(checkedRate);
    const common = greatestCommonDivisor(rate, newRate);
    this.#up = newRate / common;
    this.#down = rate / common;
    this.#half = Math.ceil(HALF_LENGTH * Math.max(1, rate / newRate));
    this.reach = this.#half + 1;
    if (this.#up * 2 * this.#half <= LARGEST_TABLE) {
      this.#table = Array.from({ length: this.#up }, (_, place) => this.#filter(place));
    }
    this.reset();
  }

  /** Forgets the signal so far. */
  reset(): void {
    this.#taken = this.#done = 0;
    this.#origin = 1 - this.#half;
    this.#recent = new Float32Array(this.#half - 1);
  }

  /** How many input samples it takes to complete `count` output samples. */
  needed(count: number): number {
    return count ? Math.floor(((count - 1) * this.#down) / this.#up) + this.#half + 1 : 0;
  }

  /** Takes samples and gives those that are complete by now. */
  process(samples: Float32Array): Float32Array {
    this.#taken += samples.length;
    const recent = new Float32Array(this.#recent.length + samples.length);
    recent.set(this.#recent);
    recent.set(samples, this.#recent.length);
    const complete = Math.ceil((Math.max(0, this.#taken - this.#half) * this.#up) / this.#down);
    const result = new Float32Array(Math.max(0, complete - this.#done));
    for (let index = 0; index < result.length; index++) {
      const position = (this.#done + index) * this.#down;
      const first = Math.floor(position / this.#up) - this.#half + 1 - this.#origin;
      const filter = this.#table ? this.#table[position % this.#up] : this.#filter(position % this.#up);
      let sum = 0;
      for (let tap = 0; tap < filter.length; tap++) sum += filter[tap] * recent[first + tap];
      result[index] = sum;
    }
    this.#done += result.length;
    const kept = Math.floor((this.#done * this.#down) / this.#up) - this.#half + 1 - this.#origin;
    this.#recent = recent.slice(Math.min(kept, recent.length));
    this.#origin += Math.min(kept, recent.length);
    return result;
  }

  /** The weights of the input samples around an output sample that lies `place` / up after one of them. */
  #filter(place: number): Float32Array {
    prototype ??= windowedSinc();
    const scale = 1 / Math.max(this.#up, this.#down); // from input samples times `up` to samples of the lower rate
    const weights = new Float64Array(2 * this.#half);
    let sum = 0;
    for (let tap = 0; tap < weights.length; tap++) {
      const distance = Math.abs((tap - this.#half + 1) * this.#up - place) * scale;
      const steps = Math.min(distance * STEPS, prototype.length - 2);
      const below = Math.floor(steps);
      weights[tap] = prototype[below] + (steps - below) * (prototype[below + 1] - prototype[below]);
      sum += weights[tap];
    }
    return Float32Array.from(weights, (weight) => weight / sum); // a constant stays what it is
  }
}

/** The filter at distances of 0, 1 / STEPS, ... samples of the lower rate, and zeros at its end. */
function windowedSinc(): Float64Array {
  return Float64Array.from({ length: Math.ceil(HALF_LENGTH * STEPS) + 2 }, (_, step) => {
    const distance = step / STEPS;
    if (distance >= HALF_LENGTH) return 0;
    const window = besselI0(BETA * Math.sqrt(1 - (distance / HALF_LENGTH) ** 2));
    return step ? (window * Math.sin(Math.PI * distance)) / (Math.PI * distance) : window;
  });
}

/** The modified Bessel function of order 0, by its power series: to the last digits for x up to 20. */
function besselI0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / 2 / k) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b ? greatestCommonDivisor(b, a % b) : a;
}
