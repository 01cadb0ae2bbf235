// Streams of any form. That their samples are those of Python is for tests/web, which has Python.

import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { createDenoiserNode, Denoiser, DenoiserWorker, Model, strengthForLimit } from "../dist/index.js";

const bytes = fs.readFileSync(new URL("../../pretrained_model/model_stream.onnx", import.meta.url));
const model = await Model.load(bytes);

/** Swelling tones in noise, peak below 0.5. */
function noisy(length, seed = 1) {
  let state = seed;
  return Float32Array.from({ length }, (_, n) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return 0.3 * Math.sin(n / 9) * Math.max(0, Math.sin(n / 2000)) + 0.1 * (state / 1073741824 - 1);
  });
}

async function stream(denoiser, channels, sizes) {
  const pieces = channels.map(() => []);
  let [start, turn] = [0, 0];
  const keep = (piece) => piece.forEach((column, channel) => pieces[channel].push(...column));
  while (start < channels[0].length) {
    const size = sizes[turn++ % sizes.length];
    keep(await denoiser.process(channels.map((column) => column.subarray(start, start + size))));
    start += size;
  }
  keep(await denoiser.flush());
  return pieces.map((samples) => Float32Array.from(samples));
}

const largest = (a, b) => a.reduce((most, value, n) => Math.max(most, Math.abs(value - b[n])), 0);

test("the sizes of a block are those of the file", () => {
  assert.deepEqual([model.blockLength, model.blockShift], [512, 128]);
});

for (const sampleRate of [16000, 44100, 48000]) {
  test(`${sampleRate} Hz: cuts change nothing, and as many samples come out as went in`, async () => {
    const signal = noisy(12345);
    const whole = await new Denoiser(model, { sampleRate }).denoise(signal);
    const [cut] = await stream(new Denoiser(model, { sampleRate }), [signal], [1, 700, 0, 128, 2001, 37]);
    assert.equal(whole.length, signal.length);
    assert.deepEqual(cut, whole);
    assert.ok(largest(whole, signal) > 0.05); // something was done
  });

  test(`${sampleRate} Hz: no sample comes later than the latency says, and some come that late`, async () => {
    const denoiser = new Denoiser(model, { sampleRate });
    let [taken, given, latest] = [0, 0, 0];
    for (; taken < 4000; taken++) {
      given += (await denoiser.process(new Float32Array(1))).length;
      latest = Math.max(latest, taken + 1 - given);
    }
    assert.ok(latest <= denoiser.latency.samples - 1 && latest >= denoiser.latency.samples - 3, `${latest}`);
    assert.equal(denoiser.latency.samples, Math.ceil(denoiser.latency.seconds * sampleRate));
  });
}

test("channels are denoised by themselves", async () => {
  const channels = [noisy(6000), noisy(6000, 5)];
  const together = await new Denoiser(model, { channels: 2 }).denoise(channels);
  for (const [channel, column] of channels.entries()) {
    assert.deepEqual(together[channel], await new Denoiser(model).denoise(column));
  }
});

test("strength 0 and bypass are the input to the bit, and one half is one half of both", async () => {
  const signal = noisy(6000);
  const denoised = await new Denoiser(model).denoise(signal);
  assert.deepEqual(await new Denoiser(model, { strength: 0 }).denoise(signal), signal);
  assert.deepEqual(await new Denoiser(model, { bypass: true, sampleRate: 48000 }).denoise(signal), signal);
  const half = await new Denoiser(model, { strength: 0.5 }).denoise(signal);
  assert.ok(largest(half, signal.map((sample, n) => (sample + denoised[n]) / 2)) < 1e-6);
});

test("a limit of the attenuation is a strength", () => {
  assert.deepEqual([0, 20, Infinity].map(strengthForLimit), [0, 0.9, 1]);
  for (const limit of [-1, NaN]) assert.throws(() => strengthForLimit(limit), /attenuation limit of .* at least 0/);
});

test("a switch takes 10 ms and makes no step", async () => {
  const signal = new Float32Array(8000).fill(0.25); // denoised, a constant is nearly gone
  const denoiser = new Denoiser(model);
  const first = await denoiser.process(signal.subarray(0, 4000));
  denoiser.bypass = true;
  const second = await denoiser.process(signal.subarray(4000));
  const steps = Array.from(second, (sample, n) => Math.abs(sample - (n ? second[n - 1] : first[first.length - 1])));
  assert.ok(Math.max(...steps) < 0.25 / 100);
  assert.ok(second[80] < 0.25 && largest(second.subarray(160), signal) === 0);
});

test("samples that cannot be used silence their shift and nothing else", async () => {
  const signal = noisy(8000);
  const expected = await new Denoiser(model).denoise(signal.map((sample, n) => (n >= 2048 && n < 2176 ? 0 : sample)));
  for (const bad of [NaN, Infinity, -2e6]) {
    const denoiser = new Denoiser(model);
    assert.deepEqual(await denoiser.denoise(signal.map((sample, n) => (n === 2100 ? bad : sample))), expected);
    assert.equal(denoiser.silencedBlocks, 1);
  }
});

test("a quiet stream is heard at a level that the network knows", async () => {
  const quiet = noisy(32000).map((sample) => sample / 300);
  const raw = await new Denoiser(model, { level: "raw" }).denoise(quiet);
  const adapted = await new Denoiser(model, { level: "auto" }).denoise(quiet);
  assert.ok(largest(raw, adapted) > 1e-4);
});

test("calls that overlap are worked off in their order", async () => {
  const signal = noisy(6000);
  const denoiser = new Denoiser(model);
  const calls = [denoiser.process(signal.subarray(0, 1000)), denoiser.process(signal.subarray(1000)), denoiser.flush()];
  const [first, second, [rest]] = await Promise.all(calls);
  assert.deepEqual(Float32Array.from([...first, ...second, ...rest]), await new Denoiser(model).denoise(signal));
});

test("reset begins a new signal", async () => {
  const signal = noisy(6000);
  const denoiser = new Denoiser(model, { sampleRate: 44100 });
  const expected = await denoiser.denoise(signal);
  await denoiser.process(noisy(3000, 7));
  await denoiser.reset();
  const [again] = await stream(denoiser, [signal], [500]);
  assert.deepEqual(again, expected);
});

test("what cannot be is said before work starts", async () => {
  assert.throws(() => new Denoiser(model, { sampleRate: 44100.5 }), /sample rate of 44100.5.*whole number of Hz, 1000 to/);
  assert.throws(() => new Denoiser(model, { channels: 0 }), /number of channels of 0/);
  assert.throws(() => new Denoiser(model, { strength: 1.5 }), /strength of 1.5.*from 0 to 1/);
  assert.throws(() => new Denoiser(model, { level: "loud" }), /level "loud".*raw, auto/);
  const denoiser = new Denoiser(model, { channels: 2 });
  for (const strength of [NaN, "0.5", null]) assert.throws(() => (denoiser.strength = strength), /a strength of /);
  assert.throws(() => new Denoiser({ model }), /no loaded model was given. Expected one from Model.load/);
  await assert.rejects(denoiser.process([new Float32Array(5), new Float32Array(4)]), /arrays of 5, 4 samples.*each channel, 2/);
  await assert.rejects(denoiser.process([[1, 2], [3, 4]]), /another type.*Float32Array/);
  await assert.rejects(Model.load(new Uint8Array([1, 2, 3])), /the model: cannot be loaded.*Expected model_stream.onnx/);
  await assert.rejects(Model.load(bytes.subarray(0, 1000)), /the model: cannot be loaded/);
  const pair = fs.readFileSync(new URL("../../pretrained_model/model_1.onnx", import.meta.url));
  await assert.rejects(Model.load(pair), /takes input_2, input_3. Expected block and states/);
  await assert.rejects(Model.load("model_stream.onnx"), /model_stream.onnx: cannot be fetched .* in node, its bytes/);
  await assert.rejects(Denoiser.create({ sampleRate: 48000 }), /no model was given. Expected the address/);
  await assert.rejects(DenoiserWorker.start({ model: bytes }), /outside of a browser. Use Denoiser/);
  await assert.rejects(createDenoiserNode({ sampleRate: 48000 }, {}), /an AudioWorklet only over https/);
});
