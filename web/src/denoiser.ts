/**
 * Streams as programs have them: any rate, chunks of any size, several channels. As dtln.StreamingDenoiser in Python.
 *
 * samples -> 16 kHz -> shifts -> network -> overlap-add -> own rate -> mix with the aligned dry signal -> samples
 */

import { BlockDenoiser } from "./block.js";
import { LOUDEST_SAMPLE, RAMP_SECONDS, SAMPLE_RATE } from "./facts.js";
import type { Latency, Level } from "./facts.js";
import { Model } from "./model.js";
import type { ModelSource } from "./model.js";
import { checkedColumns, checkedStream, checkedStrength } from "./options.js";
import type { Samples, StreamOptions } from "./options.js";
import { joined, Queue } from "./queue.js";
import { StreamResampler } from "./resampler.js";

export interface DenoiserOptions extends StreamOptions {
  /** The address of model_stream.onnx, what the file holds, or a model that several streams share. */
  model: ModelSource | Model;
  /** The address of ort-wasm-simd-threaded.wasm, where it does not lie beside the script. */
  wasm?: string | URL;
}

/**
 * Denoises one stream of samples, as it comes.
 *
 *     const denoiser = await Denoiser.create({ model: "model_stream.onnx", sampleRate: 48000 });
 *     const clean = await denoiser.process(samples); // any number of samples in; those out that are complete by now
 *     const rest = await denoiser.flush(); // in the end as many samples as went in, aligned with them
 *
 * The samples do not depend on how the stream is cut. `strength` and `bypass` may be set at any time: what comes out
 * next goes over to the new mix within 10 ms. Between other rates than 16000 nothing above 8 kHz comes out of the
 * network. NaN, infinite samples and those beyond 1e6 become zeros before anything remembers them, and the network
 * hears silence in place of the whole shift; `silencedBlocks` counts these shifts.
 *
 * Calls may overlap: they are worked off in their order. After an error of one the signal so far is lost.
 */
export class Denoiser {
  readonly sampleRate: number;
  readonly channels: number;
  readonly latency: Latency;
  bypass: boolean;
  #strength: number;
  readonly #model: Model;
  readonly #paths: Path[];
  readonly #rampLength: number;
  #turn: Promise<unknown> = Promise.resolve();
  #taken = 0; // samples given to `process`
  #given = 0; // aligned ones returned
  #gain: number | undefined; // the share of the denoised signal in the last sample that came out
  #ramp = { begin: 0, end: 0, over: 0 }; // from a share to a share; samples of the ramp that are over

  /** Loads the model, unless it is one, and makes a stream. Throws an Error, RangeErrors for settings. */
  static async create(options: DenoiserOptions): Promise<Denoiser> {
    checkedStream(options);
    const model = options.model instanceof Model ? options.model : await Model.load(options.model, options.wasm);
    return new Denoiser(model, options);
  }

  /** A stream through a model that is loaded. Throws a TypeError for what is none, RangeErrors for settings. */
  constructor(model: Model, options: StreamOptions = {}) {
    if (!(model instanceof Model)) {
      throw new TypeError("no loaded model was given. Expected one from Model.load, or use Denoiser.create.");
    }
    const { sampleRate, channels, strength, bypass, level } = checkedStream(options);
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.#strength = strength;
    this.bypass = bypass;
    this.#model = model;
    this.#paths = Array.from({ length: channels }, () => new Path(model, sampleRate, level));
    this.#rampLength = Math.round(RAMP_SECONDS * sampleRate);
    this.latency = this.#paths[0].latency;
  }

  /** The share of the denoised signal in what comes out, from 0 to 1. */
  get strength(): number {
    return this.#strength;
  }

  set strength(strength: number) {
    this.#strength = checkedStrength(strength);
  }

  /** How many shifts held samples that cannot be used, of all channels, since the denoiser was made. */
  get silencedBlocks(): number {
    return this.#paths.reduce((sum, path) => sum + path.silencedBlocks, 0);
  }

  /** Takes samples and returns those that are complete by now, perhaps none, in the same form. */
  process(samples: Float32Array): Promise<Float32Array>;
  process(samples: Float32Array[]): Promise<Float32Array[]>;
  process(samples: Samples): Promise<Samples>;
  async process(samples: Samples): Promise<Samples> {
    const single = !Array.isArray(samples);
    const columns = checkedColumns(single ? [samples] : samples, this.channels).map((column) => column.slice());
    const result = await this.#inTurn(() => this.#push(columns));
    return single ? result[0] : result;
  }

  /** Returns the rest of each channel, and resets. In the end as many samples have come out as went in. */
  flush(): Promise<Float32Array[]> {
    return this.#inTurn(async () => {
      const missing = this.#taken - this.#given;
      const silence = new Float32Array(Math.max(0, this.#paths[0].needed(this.#taken) - this.#taken));
      const rest = await this.#push(this.#paths.map(() => silence));
      this.#forget();
      return rest.map((column) => column.slice(0, missing));
    });
  }

  /** Forgets the signal so far, so that a new one can begin. Settings and counts stay. */
  reset(): Promise<void> {
    return this.#inTurn(async () => this.#forget());
  }

  /** Denoises a whole signal, aligned; forgets what came before it, and it. */
  denoise(signal: Float32Array): Promise<Float32Array>;
  denoise(signal: Float32Array[]): Promise<Float32Array[]>;
  async denoise(signal: Samples): Promise<Samples> {
    const single = !Array.isArray(signal);
    const columns = single ? [signal] : signal;
    const [, first, rest] = await Promise.all([this.reset(), this.process(columns), this.flush()]);
    const whole = first.map((column, channel) => joined(column, rest[channel]));
    return single ? whole[0] : whole;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => this.#forget()); // one part has gone on, another one has not
    return result;
  }

  #forget(): void {
    for (const path of this.#paths) path.reset();
    this.#taken = this.#given = 0;
    this.#gain = undefined;
    this.#ramp = { begin: 0, end: 0, over: this.#rampLength };
  }

  async #push(columns: Float32Array[]): Promise<Float32Array[]> {
    const denoised: Float32Array[] = [];
    for (const [channel, column] of columns.entries()) {
      const unusable = zeroUnusable(column);
      const { blockShift } = this.#model;
      for (const index of unusable) {
        const shift = Math.floor(Math.floor(((this.#taken + index) * SAMPLE_RATE) / this.sampleRate) / blockShift);
        this.#paths[channel].unusable.add(shift);
      }
      denoised.push(await this.#paths[channel].push(column));
    }
    this.#taken += columns[0].length;
    const dry = this.#paths.map((path, channel) => path.dry.shift(denoised[channel].length));
    return denoised[0].length ? this.#mix(denoised, dry) : denoised;
  }

  /** Denoised and dry samples of each channel, which come out next, in the shares that are wanted by now. */
  #mix(denoised: Float32Array[], dry: Float32Array[]): Float32Array[] {
    const count = denoised[0].length;
    this.#given += count;
    const wanted = this.bypass ? 0 : this.#strength;
    if (this.#gain === undefined) {
      this.#gain = wanted;
      this.#ramp = { begin: wanted, end: wanted, over: this.#rampLength };
    }
    if (wanted !== this.#ramp.end) this.#ramp = { begin: this.#gain, end: wanted, over: 0 };
    const { begin, end, over } = this.#ramp;
    if (over >= this.#rampLength && end === 1) return denoised;
    if (over >= this.#rampLength && end === 0) return dry;
    const gains = new Float32Array(count);
    for (let n = 0; n < count; n++) gains[n] = end + (begin - end) * Math.max(0, 1 - (over + n + 1) / this.#rampLength);
    this.#ramp.over = over + count;
    this.#gain = gains[count - 1];
    return denoised.map((column, channel) =>
      column.map((sample, n) => sample * gains[n] + dry[channel][n] * (1 - gains[n])),
    );
  }
}

/** The way of one channel, without the mix. */
class Path {
  readonly latency: Latency;
  readonly dry = new Queue(); // what waits for the network
  readonly unusable = new Set<number>(); // shifts to come that are silenced
  readonly #model: Model;
  readonly #block: BlockDenoiser;
  readonly #down: StreamResampler | undefined;
  readonly #up: StreamResampler | undefined;
  readonly #pending = new Queue(); // at 16 kHz: less than a shift
  #shifts = 0;

  constructor(model: Model, sampleRate: number, level: Level) {
    this.#model = model;
    this.#block = new BlockDenoiser(model, level);
    if (sampleRate !== SAMPLE_RATE) {
      this.#down = new StreamResampler(sampleRate, SAMPLE_RATE);
      this.#up = new StreamResampler(SAMPLE_RATE, sampleRate);
    }
    // The largest of `needed(n + 1)` - n: as if each filter and the last shift met the worst case at once.
    const heard = (this.#up?.reach ?? 1) - 1 + this.#delay + model.blockShift - 1;
    const seconds = heard / SAMPLE_RATE + (this.#down?.reach ?? 1) / sampleRate;
    this.latency = { samples: Math.ceil(seconds * sampleRate - 1e-6), seconds };
  }

  get silencedBlocks(): number {
    return this.#block.silencedBlocks;
  }

  get #delay(): number {
    return this.#model.blockLength - this.#model.blockShift;
  }

  reset(): void {
    this.#block.reset();
    this.#down?.reset();
    this.#up?.reset();
    this.#pending.clear();
    this.dry.clear();
    this.unusable.clear();
    this.#shifts = 0;
  }

  /** How many samples it takes to complete `count` aligned samples. */
  needed(count: number): number {
    if (!count) return 0;
    const { blockShift } = this.#model;
    const aligned = this.#up ? this.#up.needed(count) : count;
    const heard = Math.ceil((aligned + this.#delay) / blockShift) * blockShift;
    return this.#down ? this.#down.needed(heard) : heard;
  }

  /** Takes samples; returns the aligned ones that are complete. */
  async push(samples: Float32Array): Promise<Float32Array> {
    const { blockShift } = this.#model;
    this.dry.push(samples);
    this.#pending.push(this.#down ? this.#down.process(samples) : samples);
    const denoised = new Queue();
    while (this.#pending.length >= blockShift) {
      const usable = !this.unusable.delete(this.#shifts);
      const shift = await this.#block.process(this.#pending.shift(blockShift), usable);
      const early = this.#delay - this.#shifts * blockShift; // samples that precede the signal
      if (early < blockShift) denoised.push(early > 0 ? shift.subarray(early) : shift);
      this.#shifts += 1;
    }
    const aligned = denoised.shift(denoised.length);
    return this.#up ? this.#up.process(aligned) : aligned;
  }
}

/** Replaces samples that cannot be used by zeros; returns where they were. */
function zeroUnusable(samples: Float32Array): number[] {
  const where: number[] = [];
  for (let n = 0; n < samples.length; n++) {
    if (!(Math.abs(samples[n]) <= LOUDEST_SAMPLE)) {
      samples[n] = 0;
      where.push(n);
    }
  }
  return where;
}
