/**
 * What page, worklet and worker say to each other. The worker is told `Load` once, then `Open` for each stream, with a
 * port of its own. Over that port go requests; each `samples` and `flush` gets one answer, in their order.
 */

import type { StreamOptions } from "./options.js";
import type { Latency } from "./facts.js";

export interface Load {
  type: "load";
  model: string | Uint8Array;
  wasm: string;
}

export interface Open {
  type: "open";
  port: MessagePort;
  options: StreamOptions;
}

export type WorkerRequest = Load | Open;
export type WorkerAnswer = { type: "loaded" } | Failed;

/** start: the place of the first sample since the stream began; where it leaves a gap, a new signal begins. */
export type StreamRequest =
  | { type: "samples"; start: number; channels: Float32Array[] }
  | { type: "flush" }
  | Change
  | { type: "close" };

export interface Change {
  type: "set";
  strength?: number;
  bypass?: boolean;
}

/** start: the place of the samples. until: that of the last sample taken, plus 1. busy: ms that they took. */
export interface Denoised {
  type: "samples" | "flushed";
  start: number;
  until: number;
  channels: Float32Array[];
  busy: number;
}

export interface Failed {
  type: "failed";
  message: string;
}

export type StreamAnswer = { type: "opened"; latency: Latency } | Denoised | Failed;

/** What a worklet is told by the page. */
export type WorkletRequest = { type: "connect"; port: MessagePort } | Change | { type: "close" };

/** What the processor of a worklet is made with. Lengths in samples of the context. */
export interface WorkletOptions {
  channels: number;
  delay: number;
  chunk: number;
}

/** What became of a node so far. */
export interface DenoiserStats {
  /** Samples that went through, of each channel. */
  frames: number;
  /** How many times denoised samples came too late for the loudspeaker, so that the input was played instead. */
  underruns: number;
  /** How many samples that were. */
  lateFrames: number;
  /** How many samples were not denoised because the worker lay a second behind; they are late as well. */
  skippedFrames: number;
  /** The share of real time that the worker needed since the last report. */
  load: number;
}
