// Bundles the worker and the worklet into dist/, with the model, and the demo into docs/demo/build/. After tsc, which
// writes the rest.

import { cp, mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(here);
const target = path.join(root, "docs", "demo", "build");
const WASM = "ort-wasm-simd-threaded.wasm"; // the smallest there is: SIMD, and no threads unless they are asked for
const MODEL = "model_stream.onnx"; // the 8-bit one has 1.2 MB, but takes a third longer
const SAMPLE = "reader_jackhammer_5dB.wav";

const shared = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "eof",
  external: ["module", "node:*", "worker_threads"], // onnxruntime-web asks for them in node alone
  define: { "process.versions.node": "undefined" },
  logLevel: "warning",
};
const library = ["worker", "worklet"].map((name) => path.join(here, "src", `${name}.ts`));

await build({ ...shared, entryPoints: library, outdir: path.join(here, "dist") });
await cp(path.join(here, "node_modules", "onnxruntime-web", "dist", WASM), path.join(here, "dist", WASM));
await cp(path.join(root, "pretrained_model", MODEL), path.join(here, "dist", MODEL));
await cp(path.join(root, "LICENSE"), path.join(here, "dist", "LICENSE"));

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
await build({ ...shared, entryPoints: ["demo", "tap"].map((name) => path.join(here, "demo", `${name}.ts`)), outdir: target });
for (const name of ["worker.js", "worklet.js", WASM, MODEL]) await cp(path.join(here, "dist", name), path.join(target, name));
await cp(path.join(root, "audio_samples", "noisy", SAMPLE), path.join(target, "sample.wav"));
