// A page of the tests: a recording through a stream in a worker, twice, the second time after a part of it.

import { DenoiserWorker } from "dtln-web";

window.result = async ({ build, rate }) => {
  const worker = await DenoiserWorker.start({ assets: build });
  const response = await fetch(`${build}sample.wav`);
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await response.arrayBuffer());
  const dry = sound.getChannelData(0).slice(0, rate);
  const stream = await worker.open({ sampleRate: rate, channels: 2 });
  const [first] = await stream.denoise([dry, dry]);
  await stream.process([dry.subarray(0, 5000), dry.subarray(0, 5000)]);
  const [, second] = await stream.denoise([dry, dry]);
  const single = await (await worker.open({ sampleRate: rate })).denoise(dry);
  worker.terminate();
  return { dry, first, second, single };
};
