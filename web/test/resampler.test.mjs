// The filters between the rates: where samples lie, what passes, what does not. tests/web compares them with Python's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamResampler } from "../dist/index.js";

const sine = (frequency, rate, length, offset = 0) =>
  Float32Array.from({ length }, (_, n) => Math.sin((2 * Math.PI * frequency * (n + offset)) / rate));

for (const [rate, newRate] of [[48000, 16000], [44100, 16000], [16000, 44100], [16000, 48000], [44099, 16000], [16000, 44099]]) {
  test(`${rate} to ${newRate} Hz: a tone stays where it is`, () => {
    const output = new StreamResampler(rate, newRate).process(sine(1000, rate, rate / 4));
    const expected = sine(1000, newRate, output.length);
    for (let n = Math.round(newRate / 100); n < output.length; n++) assert.ok(Math.abs(output[n] - expected[n]) < 2e-4, `${n}`);
  });

  test(`${rate} to ${newRate} Hz: cuts change nothing, and as many samples come as was said`, () => {
    const signal = Float32Array.from({ length: 5000 }, (_, n) => Math.sin(n * n * 1e-3));
    const whole = new StreamResampler(rate, newRate).process(signal);
    const resampler = new StreamResampler(rate, newRate);
    let [taken, given] = [0, 0];
    for (let size = 0; taken < signal.length; size = (size * 5 + 3) % 337) {
      const piece = resampler.process(signal.subarray(taken, taken + size));
      assert.deepEqual(piece, whole.slice(given, given + piece.length));
      taken = Math.min(signal.length, taken + size);
      given += piece.length;
      assert.ok(resampler.needed(given) <= taken && resampler.needed(given + 1) > taken);
      assert.ok(resampler.needed(given + 1) <= (given * rate) / newRate + resampler.reach);
    }
    assert.equal(given, whole.length);
    resampler.reset();
    assert.deepEqual(resampler.process(signal), whole);
  });
}

test("what lies above 8 kHz does not come back as something else", () => {
  const output = new StreamResampler(48000, 16000).process(sine(10000, 48000, 24000));
  assert.ok(output.slice(200).every((sample) => Math.abs(sample) < 1e-4));
});

test("7 kHz passes", () => {
  const output = new StreamResampler(48000, 16000).process(sine(7000, 48000, 24000));
  assert.ok(Math.abs(Math.max(...output.slice(200)) - 1) < 0.01);
});
