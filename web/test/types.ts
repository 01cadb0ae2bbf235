// A program that uses the package: compiled, not run. `tsc` fails where the types allow what they must not.

import { createDenoiserNode, Denoiser, DenoiserWorker, encodeWav, strengthForLimit } from "dtln-web";
import type { DenoiserStats, Latency } from "dtln-web";

export async function use(context: AudioContext, source: AudioNode): Promise<void> {
  const denoiser = await Denoiser.create({ model: "model_stream.onnx", sampleRate: 48000, strength: 0.8, level: "auto" });
  const mono: Float32Array = await denoiser.process(new Float32Array(480));
  const columns: Float32Array[] = await denoiser.process([mono, mono]);
  const latency: Latency = denoiser.latency;
  encodeWav(await denoiser.flush(), latency.samples);
  denoiser.bypass = columns.length > 1;
  // @ts-expect-error: levels are "raw" and "auto"
  await Denoiser.create({ model: new Uint8Array(), level: "loud" });
  // @ts-expect-error: a model is needed
  await Denoiser.create({ sampleRate: 48000 });
  // @ts-expect-error: samples are float32
  await denoiser.process(new Int16Array(480));

  const worker = await DenoiserWorker.start({ model: "model_stream.onnx", assets: "dtln/" });
  const stream = await worker.open({ strength: strengthForLimit(20) });
  const whole: Float32Array = await stream.denoise(mono);
  encodeWav(whole, stream.sampleRate);
  const node = await createDenoiserNode(context, { worker, channels: 2, buffer: 0.05 });
  source.connect(node).connect(context.destination);
  node.strength = 0.5;
  const stats: DenoiserStats = node.stats;
  // @ts-expect-error: the rate is that of the context
  await createDenoiserNode(context, { worker, sampleRate: 48000 });
  // @ts-expect-error: the latency is what it is
  node.latency = { samples: stats.underruns, seconds: 0 };
}
