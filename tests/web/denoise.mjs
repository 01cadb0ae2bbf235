// Denoises float32 samples with the package, in node: node denoise.mjs PACKAGE MODEL OPTIONS NOISY DENOISED
//
// OPTIONS: JSON of a Denoiser's, and `chunk`, how many samples it is given at once, `changes`, a list of
// [sample, name, value] of what is set from that sample on. Several channels lie one after the other.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, model, json, noisy, denoised] = process.argv.slice(2);
const { Denoiser } = await import(pathToFileURL(path.join(folder, "dist", "index.js")));
const { chunk, changes = [], ...options } = JSON.parse(json);
const denoiser = await Denoiser.create({ model: fs.readFileSync(model), ...options });
const bytes = fs.readFileSync(noisy);
const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const length = samples.length / denoiser.channels;
const channels = Array.from({ length: denoiser.channels }, (_, n) => samples.subarray(n * length, (n + 1) * length));
const pieces = [];
for (let start = 0; start < length; start += chunk) {
  for (const [sample, name, value] of changes) if (sample === start) denoiser[name] = value;
  pieces.push(await denoiser.process(channels.map((column) => column.subarray(start, start + chunk))));
}
pieces.push(await denoiser.flush());
const out = Array.from({ length: denoiser.channels }, (_, n) => Buffer.concat(pieces.map((piece) => Buffer.from(piece[n].buffer))));
fs.writeFileSync(denoised, Buffer.concat(out));
console.log(JSON.stringify({ latency: denoiser.latency.samples, silenced: denoiser.silencedBlocks }));
