/** What a worklet does, without the worklet: samples go out in chunks, and come back in time or do not. */

import type { DenoiserStats } from "./protocol.js";

const FADE = 128; // samples in which denoised sound comes back after an underrun
const LONGEST_LAG_SECONDS = 1; // of the worker; beyond, samples are skipped until it has caught up

/** Samples to be denoised. start: the place of the first one since the beginning. */
export interface Piece {
  start: number;
  channels: Float32Array[];
}

/**
 * Plays denoised samples a fixed delay after they went in, so that the delay never drifts. What comes later than that
 * is counted and dropped; the input is played in its place, as late as the denoised samples would have been.
 */
export class Timeline {
  readonly #delay: number;
  readonly #chunk: number;
  readonly #longestLag: number;
  readonly #mask: number;
  readonly #dry: Float32Array[]; // rings: sample n lies at n & mask
  readonly #denoised: Float32Array[];
  readonly #there: Uint8Array; // whether a denoised sample has come
  #taken = 0;
  #passed = 0; // place up to which samples went to the worker, or were skipped
  #sent = 0; // place up to which they went to the worker
  #answered = 0; // place up to which the worker has taken them
  #skipping = false;
  #share = 1; // of the denoised samples in what is played: less while they come back
  #late = false;
  #busy = 0; // ms of the worker since the last report
  #reported = 0;
  #underruns = 0;
  #lateFrames = 0;
  #skippedFrames = 0;

  /** delay, chunk: in samples; every `chunk` samples a piece goes out. */
  constructor(channels: number, delay: number, chunk: number, sampleRate: number) {
    this.#delay = delay;
    this.#chunk = chunk;
    this.#longestLag = LONGEST_LAG_SECONDS * sampleRate;
    const capacity = 2 ** Math.ceil(Math.log2(delay + 2 * chunk + 1));
    this.#mask = capacity - 1;
    this.#dry = Array.from({ length: channels }, () => new Float32Array(capacity));
    this.#denoised = Array.from({ length: channels }, () => new Float32Array(capacity));
    this.#there = new Uint8Array(capacity);
  }

  /**
   * Takes the next samples and fills `output`, of the same length, with those that are due. Returns a piece for the
   * worker where a chunk is complete. Channels that `input` lacks are silent. At most `chunk` samples at once.
   */
  exchange(input: readonly Float32Array[], output: readonly Float32Array[]): Piece | undefined {
    const count = output[0].length;
    for (const [channel, ring] of this.#dry.entries()) {
      const samples = input[channel];
      for (let n = 0; n < count; n++) ring[(this.#taken + n) & this.#mask] = samples ? samples[n] : 0;
    }
    this.#play(output, this.#taken - this.#delay, count);
    this.#taken += count;
    return this.#taken - this.#passed >= this.#chunk ? this.#next() : undefined;
  }

  /** Takes what the worker made. busy: the ms that it took. */
  receive(start: number, until: number, channels: readonly Float32Array[], busy: number): void {
    this.#busy += busy;
    this.#answered = until;
    const due = this.#taken - this.#delay;
    for (let n = Math.max(0, due - start); n < channels[0].length; n++) {
      const place = (start + n) & this.#mask;
      this.#there[place] = 1;
      for (const [channel, ring] of this.#denoised.entries()) ring[place] = channels[channel][n];
    }
  }

  /** What became of the samples so far; the load since the last call. */
  stats(sampleRate: number): DenoiserStats {
    const milliseconds = ((this.#taken - this.#reported) / sampleRate) * 1e3;
    const load = milliseconds ? this.#busy / milliseconds : 0;
    this.#busy = 0;
    this.#reported = this.#taken;
    const [underruns, lateFrames, skippedFrames] = [this.#underruns, this.#lateFrames, this.#skippedFrames];
    return { frames: this.#taken, underruns, lateFrames, skippedFrames, load };
  }

  #play(output: readonly Float32Array[], first: number, count: number): void {
    for (let n = 0; n < count; n++) {
      const place = (first + n) & this.#mask;
      if (first + n < 0) {
        for (const column of output) column[n] = 0;
        continue;
      }
      const there = this.#there[place];
      this.#there[place] = 0;
      if (there) this.#share = Math.min(1, this.#share + 1 / FADE);
      else {
        this.#share = 0;
        this.#lateFrames += 1;
        if (!this.#late) this.#underruns += 1;
      }
      this.#late = !there;
      for (const [channel, column] of output.entries()) {
        const dry = this.#dry[channel][place];
        column[n] = this.#share === 1 ? this.#denoised[channel][place] : dry;
        if (there && this.#share < 1) column[n] += this.#share * (this.#denoised[channel][place] - dry);
      }
    }
  }

  #next(): Piece | undefined {
    const [start, length] = [this.#passed, this.#taken - this.#passed];
    this.#passed = this.#taken;
    this.#skipping = this.#sent - this.#answered > (this.#skipping ? 0 : this.#longestLag);
    if (this.#skipping) {
      this.#skippedFrames += length;
      return undefined;
    }
    this.#sent = this.#taken;
    const channels = this.#dry.map((ring) => {
      const samples = new Float32Array(length);
      for (let n = 0; n < length; n++) samples[n] = ring[(start + n) & this.#mask];
      return samples;
    });
    return { start, channels };
  }
}
