// The page of web.py: times blocks in the browser, and asks the server for Python's turn in between.

import { Denoiser, Model } from "dtln-web";

const SETTLE = 20; // blocks of a turn that bring the weights back into the caches

function noise(length) {
  let state = 1;
  return Float32Array.from({ length }, (_, n) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return 0.2 * Math.max(0, Math.sin(n / 1500)) * (state / 1073741824 - 1);
  });
}

/** A turn: ms of each of `count` calls of `work`, after some that are not counted. */
async function turn(count, work) {
  const milliseconds = [];
  for (let call = -SETTLE; call < count; call++) {
    const begun = performance.now();
    await work();
    if (call >= 0) milliseconds.push(performance.now() - begun);
  }
  return milliseconds;
}

/** ms of every call, by contender: the blocks of each model, 40 ms at 48 kHz, and those that Python took. */
window.result = async ({ build, models, turns, blocks, settle }) => {
  const contenders = {};
  const times = { start: [] };
  const [block, samples] = [noise(512), noise(1920)];
  for (const name of models) {
    const begun = performance.now();
    const model = await Model.load(build + name, `${build}ort-wasm-simd-threaded.wasm`);
    times.start.push(performance.now() - begun);
    let states = model.initialStates();
    contenders[name] = () => turn(blocks, async () => ({ states } = await model.run(block, states)));
    if (name !== models[0]) continue;
    const denoiser = new Denoiser(model, { sampleRate: 48000 });
    contenders["48 kHz"] = () => turn(Math.ceil(blocks / 5), () => denoiser.process(samples));
  }
  for (const work of Object.values(contenders)) for (let turn = 0; turn < settle; turn++) await work(); // to compile
  for (let round = 0; round < turns; round++) {
    for (const [name, work] of Object.entries(contenders)) (times[name] ??= []).push(...(await work()));
    const python = await (await fetch("turn")).json();
    for (const [name, milliseconds] of Object.entries(python)) (times[name] ??= []).push(...milliseconds);
  }
  return times;
};
