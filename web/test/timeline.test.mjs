// The worklet's bookkeeping, against a worker of the test's that answers when it is told to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline } from "../dist/timeline.js";

const [RATE, QUANTUM, CHUNK, DELAY] = [48000, 128, 256, 2000];

/**
 * Runs `quanta` of a ramp through a timeline, one channel. answer(piece, quantum): in how many quanta the worker sends
 * a piece back, negated; its samples then lie 500 behind those that it was given, as those of a denoiser.
 */
function run(quanta, answer, channels = 1) {
  const timeline = new Timeline(channels, DELAY, CHUNK, RATE);
  const [output, pieces, coming] = [[], [], []];
  let [expected, given] = [0, 0];
  for (let quantum = 0; quantum < quanta; quantum++) {
    for (const { start, until, samples } of coming.filter((one) => one.at === quantum)) {
      timeline.receive(start, until, Array(channels).fill(samples), 1);
    }
    const input = Float32Array.from({ length: QUANTUM }, (_, n) => quantum * QUANTUM + n + 1);
    const block = Array.from({ length: channels }, () => new Float32Array(QUANTUM));
    const piece = timeline.exchange(Array(channels).fill(input), block);
    output.push(...block[0]);
    if (!piece) continue;
    pieces.push(piece);
    if (piece.start !== expected) given = piece.start; // a new signal
    const until = (expected = piece.start + piece.channels[0].length);
    const end = Math.max(given, until - 500);
    const samples = Float32Array.from({ length: end - given }, (_, n) => -(given + n + 1));
    coming.push({ at: quantum + answer(piece, quantum), start: given, until, samples });
    given = end;
  }
  return { output, pieces, stats: timeline.stats(RATE) };
}

test("samples come out as late as was said, and none before", () => {
  const { output, stats } = run(200, () => 1);
  assert.deepEqual(output.slice(0, DELAY), Array(DELAY).fill(0));
  output.slice(DELAY).forEach((sample, n) => assert.equal(sample, -(n + 1)));
  assert.deepEqual({ ...stats, load: 0 }, { frames: 25600, underruns: 0, lateFrames: 0, skippedFrames: 0, load: 0 });
});

test("the latest answer that is in time is one quantum after a chunk and a delay", () => {
  const slack = Math.floor((DELAY - 500 - CHUNK) / QUANTUM); // quanta that the way to the worker and back may take
  assert.equal(run(200, () => slack).stats.lateFrames, 0);
  assert.ok(run(200, () => slack + 2).stats.lateFrames > 0);
});

test("every sample that comes too late is counted, and the input stands in its place", () => {
  const { output, stats } = run(400, (_, quantum) => (quantum > 100 && quantum < 200 ? 1 + (200 - quantum) : 1));
  let [late, begun, wasLate, fading] = [0, 0, false, 0];
  output.slice(DELAY).forEach((sample, n) => {
    const isDry = sample === n + 1;
    late += isDry;
    begun += isDry && !wasLate;
    fading += !isDry && sample !== -(n + 1);
    wasLate = isDry;
  });
  assert.ok(late > 5000);
  assert.equal(stats.lateFrames, late);
  assert.equal(stats.underruns, 1);
  assert.equal(begun, 1);
  assert.equal(fading, QUANTUM - 1); // on the way back from the input
  assert.equal(stats.skippedFrames, 0);
});

test("a worker that lags more than a second is let catch up, and a new signal begins", () => {
  const { output, pieces, stats } = run(2000, (_, quantum) => (quantum < 600 ? 600 - quantum + 1 : 1));
  const gaps = pieces.filter((piece, n) => n && piece.start !== pieces[n - 1].start + pieces[n - 1].channels[0].length);
  assert.equal(gaps.length, 1);
  assert.equal(stats.skippedFrames, gaps[0].start - CHUNK * (Math.floor(RATE / CHUNK) + 1)); // the last piece made it more than a second
  assert.ok(stats.lateFrames >= stats.skippedFrames);
  assert.deepEqual(output.slice(-1000), Array.from({ length: 1000 }, (_, n) => -(2000 * QUANTUM - DELAY - 1000 + n + 1)));
});

test("a source that ends is silence, and the load is the worker's time over that of the samples", () => {
  const timeline = new Timeline(2, DELAY, CHUNK, RATE);
  const output = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
  timeline.exchange([], output);
  const piece = timeline.exchange([], output);
  assert.deepEqual(piece, { start: 0, channels: [new Float32Array(CHUNK), new Float32Array(CHUNK)] });
  timeline.receive(0, CHUNK, [new Float32Array(0), new Float32Array(0)], 2);
  assert.ok(Math.abs(timeline.stats(RATE).load - 2 / ((CHUNK / RATE) * 1e3)) < 1e-9);
  timeline.exchange([], output);
  assert.equal(timeline.stats(RATE).load, 0);
});
