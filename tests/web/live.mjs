// A page of the tests: noise through a DenoiserNode, in real time, recorded beside what went in.

import { DenoiserNode, DenoiserWorker } from "dtln-web";

/**
 * Answers: delay and reports of the node, `dry` and `wet`: what went in and came out. build: the address of the demo's
 * files. assets: that of the package's. changes: a list of [seconds, name, value] of what is set on the node.
 */
async function run({ seconds, rate, buffer, build, assets = build, changes = [] }) {
  const context = new AudioContext({ sampleRate: rate });
  await context.suspend(); // all processors begin with the same block
  await context.audioWorklet.addModule(new URL("tap.js", new URL(build, location.href)));
  const worker = await DenoiserWorker.start({ model: `${build}model_stream.onnx`, assets });
  const denoiser = await DenoiserNode.create(context, { worker, buffer });
  const response = await fetch(`${build}sample.wav`);
  const sound = await context.decodeAudioData(await response.arrayBuffer());
  const source = new AudioBufferSourceNode(context, { buffer: sound, loop: true });
  const merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
  const tap = new AudioWorkletNode(context, "dtln-tap", { channelCount: 2, channelCountMode: "explicit" });
  const pieces = [];
  tap.port.onmessage = ({ data }) => pieces.push(data);
  source.connect(merger, 0, 0);
  source.connect(denoiser).connect(merger, 0, 1);
  merger.connect(tap).connect(context.destination);
  await new Promise((resolve) => setTimeout(resolve, 200)); // for the port to reach the worklet
  const reports = [];
  denoiser.addEventListener("stats", () => reports.push(denoiser.stats));
  const failures = [];
  denoiser.addEventListener("failure", (event) => failures.push(String(event.detail)));
  source.start();
  await context.resume();
  for (const [at, name, value] of changes) setTimeout(() => (denoiser[name] = value), 1000 * at);
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  await context.suspend();
  await new Promise((resolve) => setTimeout(resolve, 300)); // for the last pieces
  const [dry, wet] = [0, 1].map((channel) => {
    const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece[0].length, 0));
    let end = 0;
    for (const piece of pieces) {
      whole.set(piece[channel], end);
      end += piece[channel].length;
    }
    return whole;
  });
  denoiser.close();
  worker.terminate();
  return { dry, wet, delay: denoiser.latency.samples, reports, failures };
}

window.result = run;
