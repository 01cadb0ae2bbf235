/** Settings and samples of streams, checked before they are used. */

import { LEVELS, MOST_CHANNELS, RATES, SAMPLE_RATE } from "./facts.js";
import type { Level } from "./facts.js";

/** How a stream is denoised. */
export interface StreamOptions {
  /** Of what goes in and comes out, whole Hz, 1000 to 768000; 16000 by default. */
  sampleRate?: number;
  /** 1 by default. Each is denoised by itself. */
  channels?: number;
  /** From 0 to 1, the share of the denoised signal in what comes out; the rest is the aligned input. 1 by default. */
  strength?: number;
  /** The aligned input comes out, and the network goes on meanwhile. */
  bypass?: boolean;
  /** "auto": the network hears a stream that is too quiet or too loud at a level that it knows. "raw" by default. */
  level?: Level;
}

/** What a stream takes and gives: samples of the one channel, or those of each channel. */
export type Samples = Float32Array | Float32Array[];

/** The columns that were given, if they can be taken. Throws TypeError or RangeError. */
export function checkedColumns<T extends readonly Float32Array[]>(columns: T, channels: number): T {
  if (!columns.every((column) => column instanceof Float32Array)) {
    throw new TypeError("samples of another type were given. Expected a Float32Array, or one for each channel.");
  }
  const lengths = columns.map((column) => column.length);
  if (columns.length !== channels || lengths.some((length) => length !== lengths[0])) {
    throw new RangeError(
      `arrays of ${lengths.join(", ") || "no"} samples were given. Expected one for each channel, ${channels}, equally long.`,
    );
  }
  return columns;
}

/** Options of a stream with every default in its place. Throws RangeErrors for settings that there are not. */
export function checkedStream(options: StreamOptions): Required<StreamOptions> {
  const { sampleRate = SAMPLE_RATE, channels = 1, strength = 1, bypass = false, level = "raw" } = options;
  checkedRate(sampleRate);
  checkedWhole(channels, "a number of channels", "channels", [1, MOST_CHANNELS]);
  if (!LEVELS.includes(level)) {
    throw new RangeError(`the level ${JSON.stringify(level)} was given. Expected one of ${LEVELS.join(", ")}.`);
  }
  return { sampleRate, channels, strength: checkedStrength(strength), bypass, level };
}

export function checkedStrength(strength: number): number {
  if (!(typeof strength === "number" && strength >= 0 && strength <= 1)) {
    throw new RangeError(`a strength of ${typeof strength === "number" ? strength : JSON.stringify(strength)} was given. Expected a number from 0 to 1.`);
  }
  return strength;
}

/** The strength with which noise goes down by so many dB at most. Throws a RangeError for less than 0. */
export function strengthForLimit(attenuationLimitDb: number): number {
  if (!(attenuationLimitDb >= 0)) {
    throw new RangeError(`an attenuation limit of ${attenuationLimitDb} dB was given. Expected at least 0.`);
  }
  return 1 - 10 ** (-attenuationLimitDb / 20);
}

export function checkedRate(rate: number): number {
  return checkedWhole(rate, "a sample rate", "Hz", RATES);
}

function checkedWhole(value: number, name: string, unit: string, [lowest, highest]: readonly [number, number]): number {
  if (!(Number.isInteger(value) && lowest <= value && value <= highest)) {
    throw new RangeError(
      `${name} of ${value} was given. Expected a whole number of ${unit}, ${lowest} to ${highest}.`,
    );
  }
  return value;
}
