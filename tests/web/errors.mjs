// A page of the tests: what the package says where something is missing or wrong.

import { createDenoiserNode, DenoiserWorker } from "dtln-web";

window.result = async ({ build }) => {
  const model = `${build}model_stream.onnx`;
  const context = new AudioContext();
  const worker = await DenoiserWorker.start({ model, assets: build });
  const elsewhere = await DenoiserWorker.start({ model, assets: "without_worklet/" });
  const insecure = new AudioContext();
  Object.defineProperty(insecure, "audioWorklet", { value: undefined }); // as over http
  const attempts = {
    "no worker": () => DenoiserWorker.start({ model, assets: "nowhere/" }),
    "no runtime": () => DenoiserWorker.start({ model, assets: "without_wasm/" }),
    "no model": () => DenoiserWorker.start({ model: "missing.onnx", assets: build }),
    "no ONNX": () => DenoiserWorker.start({ model: "index.html", assets: build }),
    "no worklet": () => createDenoiserNode(context, { worker: elsewhere }),
    "offline": () => createDenoiserNode(new OfflineAudioContext(1, 100, 48000), { worker }),
    "insecure": () => createDenoiserNode(insecure, { worker }),
    "buffer": () => createDenoiserNode(context, { worker, buffer: -1 }),
    "channels": () => createDenoiserNode(context, { worker, channels: 100 }),
    "strength": () => worker.open({ strength: 2 }),
    "samples": async () => (await worker.open({ channels: 2 })).process(new Float32Array(5)),
    "closed": async () => {
      const stream = await worker.open();
      const answer = stream.process(new Float32Array(16000));
      stream.close();
      await answer;
    },
    "used when closed": async () => {
      const stream = await worker.open();
      stream.close();
      stream.close();
      stream.strength = 0.5;
      await stream.process(new Float32Array(10));
    },
    "ended": async () => {
      const other = await DenoiserWorker.start({ assets: build });
      const answer = (await other.open()).process(new Float32Array(160000));
      other.terminate();
      await answer;
    },
    "opening when ended": async () => {
      const other = await DenoiserWorker.start({ assets: build });
      const opening = other.open();
      other.terminate();
      await opening;
    },
    "opened when ended": async () => {
      const other = await DenoiserWorker.start({ assets: build });
      other.terminate();
      other.terminate();
      await other.open();
    },
    "closed node": async () => {
      const node = await createDenoiserNode(context, { assets: build });
      node.close();
      node.close();
      node.strength = 0.5;
    },
  };
  const said = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    said[name] = await attempt().then(() => "nothing", (error) => error.message);
  }
  return said;
};
