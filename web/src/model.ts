/** The network on one block: model_stream.onnx, or its 8-bit sister, on ONNX Runtime for the web with one thread. */

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { metadataOf } from "./onnx.js";

const SHIFT_KEY = "block_shift"; // the note in our files; without it a block has four shifts

/** Where a model is: its address, or what its file holds. */
export type ModelSource = string | URL | ArrayBuffer | Uint8Array;

/** States of the LSTMs after a block. They are arguments and results: streams that share a model have their own. */
export type States = Tensor;

export class Model {
  readonly blockLength: number; // samples at 16 kHz
  readonly blockShift: number;
  readonly #session: InferenceSession;
  readonly #statesShape: readonly number[];

  private constructor(session: InferenceSession, blockLength: number, blockShift: number, shape: readonly number[]) {
    this.#session = session;
    this.blockLength = blockLength;
    this.blockShift = blockShift;
    this.#statesShape = shape;
  }

  /**
   * Fetches and prepares a model, and runs it once, because the first block is slow.
   *
   * wasm: the address of ort-wasm-simd-threaded.wasm, where it does not lie beside the script. Throws an Error where
   * the model or wasm cannot be fetched, is no ONNX model, or another one than a streaming model of this toolkit.
   */
  static async load(source: ModelSource, wasm?: string | URL): Promise<Model> {
    const name = source instanceof URL || typeof source === "string" ? String(source) : "the model";
    const bytes = await bytesOf(source, name);
    env.wasm.numThreads = 1; // more would need a page that is cross-origin isolated, and gain nothing at this size
    env.logLevel = "error";
    if (wasm) env.wasm.wasmPaths = { wasm: String(wasm) };
    let session: InferenceSession;
    let shift: string | undefined;
    try {
      shift = metadataOf(bytes).get(SHIFT_KEY);
      session = await InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      if (words.includes("no available backend")) {
        const runtime = wasm ? String(wasm) : "ort-wasm-simd-threaded.wasm";
        throw new Error(`${runtime}: ONNX Runtime cannot be started (${words}). Expected the built file of this name.`);
      }
      throw new Error(`${name}: cannot be loaded (${words}). Expected model_stream.onnx or model_stream_quant.onnx.`);
    }
    const shapes = new Map(session.inputMetadata.map((value) => [value.name, value.isTensor ? value.shape : []]));
    const [block, states] = [shapes.get("block"), shapes.get("states")];
    if (!block || !states || shapes.size !== 2) {
      throw new Error(
        `${name}: takes ${[...shapes.keys()].join(", ")}. Expected block and states: a streaming model of this toolkit.`,
      );
    }
    const blockLength = Number(block[block.length - 1]);
    const blockShift = shift === undefined ? blockLength / 4 : Number(shift);
    if (!(Number.isInteger(blockShift) && blockShift > 0 && blockLength % blockShift === 0)) {
      throw new Error(`${name}: has a shift of ${shift} samples. Expected a divisor of the block, ${blockLength}.`);
    }
    const model = new Model(session, blockLength, blockShift, states.map(Number));
    await model.run(new Float32Array(blockLength), model.initialStates());
    return model;
  }

  /** States of a new signal: zeros. */
  initialStates(): States {
    const size = this.#statesShape.reduce((product, axis) => product * axis, 1);
    return new Tensor("float32", new Float32Array(size), this.#statesShape);
  }

  /** The last `blockLength` samples and states -> the denoised block, a new array, and the new states. */
  async run(block: Float32Array, states: States): Promise<{ denoised: Float32Array; states: States }> {
    const results = await this.#session.run({ block: new Tensor("float32", block, [1, 1, block.length]), states });
    return { denoised: results["denoised"].data as Float32Array, states: results["states_out"] as States };
  }
}

async function bytesOf(source: ModelSource, name: string): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (!(source instanceof URL || typeof source === "string")) {
    throw new TypeError("no model was given. Expected the address of model_stream.onnx, or what the file holds.");
  }
  const response = await fetch(source).catch((error: Error) => {
    const expected = "Expected the address of an ONNX model, or, of a file in node, its bytes.";
    throw new Error(`${name}: cannot be fetched (${error.message}). ${expected}`);
  });
  if (!response.ok) {
    throw new Error(`${name}: cannot be fetched (${response.status} ${response.statusText}). Expected an ONNX model.`);
  }
  return new Uint8Array(await response.arrayBuffer());
}
