/** DTLN in the browser: real-time denoising of speech, nothing of which leaves the page. */

export { DenoiserStream, DenoiserWorker } from "./client.js";
export type { WorkerOptions } from "./client.js";
export { Denoiser } from "./denoiser.js";
export type { DenoiserOptions } from "./denoiser.js";
export type { Latency, Level } from "./facts.js";
export { Model } from "./model.js";
export type { ModelSource, States } from "./model.js";
export { DenoiserNode } from "./node.js";
export type { DenoiserNodeOptions } from "./node.js";
export { strengthForLimit } from "./options.js";
export type { Samples, StreamOptions } from "./options.js";
export type { DenoiserStats } from "./protocol.js";
export { StreamResampler } from "./resampler.js";
export { encodeWav, sampleRateOf } from "./wav.js";

import { DenoiserNode } from "./node.js";
import type { DenoiserNodeOptions } from "./node.js";

/** `DenoiserNode.create`: a node that denoises, at the rate of the context. */
export function createDenoiserNode(context: BaseAudioContext, options: DenoiserNodeOptions): Promise<DenoiserNode> {
  return DenoiserNode.create(context, options);
}
