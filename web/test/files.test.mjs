// Wav headers and the notes in ONNX files.

import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { encodeWav, sampleRateOf, StreamResampler } from "../dist/index.js";
import { metadataOf } from "../dist/onnx.js";

const included = (name) => fs.readFileSync(new URL(`../../${name}`, import.meta.url));
const buffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);

test("a wav file is written sample by sample, rounded and clipped", () => {
  const bytes = encodeWav([Float32Array.of(0, 0.5, 2), Float32Array.of(-1, -2, 1.6 / 32768)], 44100);
  const samples = new Int16Array(bytes.buffer, 44);
  assert.deepEqual([...samples], [0, -32768, 16384, -32768, 32767, 2]);
  const view = new DataView(bytes.buffer);
  assert.equal(view.getUint32(4, true), bytes.length - 8);
  assert.deepEqual([view.getUint16(22, true), view.getUint32(24, true), view.getUint32(28, true)], [2, 44100, 176400]);
  assert.equal(sampleRateOf(buffer(bytes)), 44100);
  assert.deepEqual(encodeWav(Float32Array.of(0, 0.5), 8000), encodeWav([Float32Array.of(0, 0.5)], 8000));
  assert.equal(encodeWav(new Float32Array(0), 8000).length, 44);
});

test("what cannot be a wav file, or a rate, is said", () => {
  assert.throws(() => encodeWav([], 16000), /arrays of no samples were given. Expected one for each channel/);
  assert.throws(() => encodeWav([new Float32Array(2), new Float32Array(3)], 16000), /arrays of 2, 3 samples/);
  assert.throws(() => encodeWav([[1, 2]], 16000), /another type/);
  assert.throws(() => encodeWav(new Float32Array(2), 44100.5), /sample rate of 44100.5/);
  assert.throws(() => new StreamResampler(0, 16000), /sample rate of 0 was given/);
  assert.throws(() => new StreamResampler(16000, 44100.5), /sample rate of 44100.5 was given/);
});

test("sample rates are found in wav and FLAC files", () => {
  assert.equal(sampleRateOf(buffer(included("audio_samples/noisy/numbers_bus_10dB.wav"))), 16000);
  assert.equal(sampleRateOf(included("audio_samples/noisy/numbers_bus_10dB.wav")), 16000); // as node reads it
  const junk = new Uint8Array(64); // a chunk of odd length before the format
  junk.set(new TextEncoder().encode("RIFF____WAVEJUNK"));
  junk[16] = 3;
  junk.set(new TextEncoder().encode("fmt "), 24);
  new DataView(junk.buffer).setUint32(36, 22050, true);
  assert.equal(sampleRateOf(junk.buffer), 22050);
  const flac = Uint8Array.of(0x66, 0x4c, 0x61, 0x43, 0, 0, 0, 34, 16, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0xc4, 0x42, 0xf0);
  assert.equal(sampleRateOf(flac.buffer), 44100); // 0x0ac44
  for (const other of [new ArrayBuffer(0), new ArrayBuffer(100), buffer(junk.subarray(0, 20))]) {
    assert.equal(sampleRateOf(other), undefined);
  }
});

test("the notes of our models are found, and what is no model is said to be none", () => {
  for (const name of ["model_stream.onnx", "model_stream_quant.onnx"]) {
    assert.equal(metadataOf(included(`pretrained_model/${name}`)).get("block_shift"), "128");
  }
  assert.throws(() => metadataOf(included("pretrained_model/model_stream.onnx").subarray(0, 99999)), /cut short/);
  assert.throws(() => metadataOf(Uint8Array.of(7)), /no protocol buffer/);
});
