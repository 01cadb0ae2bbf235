// A port of DTLN in JavaScript, as others write one: it knows what docs/porting.md says, and nothing of this toolkit.
//
//     node client.mjs RUNTIME KIND FOLDER NOISY DENOISED
//
// RUNTIME is onnxruntime-web or @litertjs/core, from the node_modules of the working folder. Reads and writes float32
// samples at 16 kHz without a header; prints the version of the runtime.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

const [BLOCK, SHIFT, BINS] = [512, 128, 257];
const FILES = {
  "onnx": ["model_1.onnx", "model_2.onnx"],
  "onnx-stream": ["model_stream.onnx"],
  "onnx-stream-quant": ["model_stream_quant.onnx"],
  "tflite": ["model_1.tflite", "model_2.tflite"],
  "tflite-quant": ["model_quant_1.tflite", "model_quant_2.tflite"],
  "tflite-stream": ["model_stream.tflite"],
  "tflite-stream-quant": ["model_stream_quant.tflite"],
};
const PAIR_STATES = [1, 2, 128, 2];
const GRAPH_STATES = [8, 1, 128];
const require = createRequire(path.resolve("client.mjs"));

// The two halves, with the transforms in between. A model is: names and values of inputs -> values of outputs.
function pair(model1, model2) {
  let [states1, states2] = [new Float32Array(512), new Float32Array(512)];
  const angles = Float64Array.from({ length: BLOCK }, (_, n) => (2 * Math.PI * n) / BLOCK);
  const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
  return async (block) => {
    const [real, imag] = [new Float64Array(BINS), new Float64Array(BINS)];
    for (let k = 0; k < BINS; k++) {
      for (let n = 0; n < BLOCK; n++) {
        real[k] += block[n] * cos[(k * n) % BLOCK];
        imag[k] -= block[n] * sin[(k * n) % BLOCK];
      }
    }
    const magnitude = Float32Array.from(real, (value, k) => Math.hypot(value, imag[k]));
    let mask;
    [mask, states1] = await model1(
      { input_2: [magnitude, [1, 1, BINS]], input_3: [states1, PAIR_STATES] }, ["activation_2", "tf_op_layer_stack_2"],
    );
    const masked = new Float32Array(BLOCK);
    for (let n = 0; n < BLOCK; n++) {
      let sum = 0;
      for (let k = 0; k < BINS; k++) {
        const share = k === 0 || k === BINS - 1 ? 1 : 2; // the bins above the middle mirror those below
        sum += share * mask[k] * (real[k] * cos[(k * n) % BLOCK] - imag[k] * sin[(k * n) % BLOCK]);
      }
      masked[n] = sum / BLOCK;
    }
    let clean;
    [clean, states2] = await model2(
      { input_4: [masked, [1, 1, BLOCK]], input_5: [states2, PAIR_STATES] }, ["conv1d_3", "tf_op_layer_stack_5"],
    );
    return clean;
  };
}

// The whole network on one block.
function graph(model) {
  let states = new Float32Array(1024);
  return async (block) => {
    let clean;
    [clean, states] = await model(
      { block: [block, [1, 1, BLOCK]], states: [states, GRAPH_STATES] }, ["denoised", "states_out"],
    );
    return clean;
  };
}

// Blocks, overlap-add, and the delay taken out: as many samples as came in.
async function stream(runBlock, samples) {
  const delay = BLOCK - SHIFT;
  const output = new Float32Array(samples.length);
  const [window, overlap] = [new Float32Array(BLOCK), new Float32Array(BLOCK)];
  for (let start = 0; start < samples.length + delay; start += SHIFT) {
    window.copyWithin(0, SHIFT);
    overlap.copyWithin(0, SHIFT);
    for (let n = 0; n < SHIFT; n++) window[delay + n] = samples[start + n] ?? 0;
    overlap.fill(0, delay);
    const clean = await runBlock(window);
    for (let n = 0; n < BLOCK; n++) overlap[n] += clean[n];
    for (let n = 0; n < SHIFT; n++) {
      const target = start + n - delay;
      if (target >= 0 && target < output.length) output[target] = overlap[n];
    }
  }
  return output;
}

// By name: what ports of the ONNX pair spell out.
async function onnxruntimeWeb(files) {
  const ort = await import(pathToFileURL(require.resolve("onnxruntime-web")));
  ort.env.wasm.numThreads = 1;
  return Promise.all(files.map(async (file) => {
    const session = await ort.InferenceSession.create(file);
    return async (inputs, names) => {
      const tensors = Object.entries(inputs).map(([name, value]) => [name, new ort.Tensor("float32", ...value)]);
      const outputs = await session.run(Object.fromEntries(tensors));
      return names.map((name) => outputs[name].data);
    };
  }));
}

// By position: TF-lite files have other names. LiteRT.js is made for pages and workers; here node passes for a worker.
async function litert(files) {
  const main = require.resolve("@litertjs/core");
  const folder = path.join(path.dirname(main), "..", "wasm");
  globalThis.self = globalThis;
  globalThis.importScripts = (file) => vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
  Object.assign(globalThis, { require, __dirname: folder, __filename: path.join(folder, "worker.js") });
  const { loadLiteRt, loadAndCompile, Tensor } = await import(pathToFileURL(main));
  await loadLiteRt(`${folder}/`);
  return Promise.all(files.map(async (file) => {
    const model = await loadAndCompile(new Uint8Array(fs.readFileSync(file)), { accelerator: "wasm" });
    return async (inputs) => {
      const tensors = Object.values(inputs).map(([data, shape]) => new Tensor(data, shape));
      const outputs = await model.run(tensors);
      const data = await Promise.all(outputs.map((tensor) => tensor.data()));
      [...tensors, ...outputs].forEach((tensor) => tensor.delete());
      return data;
    };
  }));
}

const [runtime, kind, folder, noisy, denoised] = process.argv.slice(2);
const load = { "onnxruntime-web": onnxruntimeWeb, "@litertjs/core": litert }[runtime];
const models = await load(FILES[kind].map((name) => path.join(folder, name)));
const runBlock = models.length === 2 ? pair(...models) : graph(...models);
const bytes = fs.readFileSync(noisy);
const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
fs.writeFileSync(denoised, Buffer.from((await stream(runBlock, samples)).buffer));
console.log(JSON.parse(fs.readFileSync(path.join("node_modules", runtime, "package.json"))).version);
