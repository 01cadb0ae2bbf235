/** The script of the worker: one model, and any number of streams through it. */

import { Denoiser } from "./denoiser.js";
import { Model } from "./model.js";
import type { StreamAnswer, StreamRequest, WorkerAnswer, WorkerRequest } from "./protocol.js";

const scope = globalThis as unknown as Worker; // the global of a worker posts and listens like the worker outside
let model: Model | undefined;

scope.onmessage = async ({ data }: MessageEvent<WorkerRequest>) => {
  if (data.type === "load") {
    try {
      model = await Model.load(data.model, data.wasm);
      scope.postMessage({ type: "loaded" } satisfies WorkerAnswer);
    } catch (error) {
      scope.postMessage({ type: "failed", message: wordsOf(error) } satisfies WorkerAnswer);
    }
    return;
  }
  const answer = (message: StreamAnswer, moved: Transferable[] = []) => data.port.postMessage(message, moved);
  try {
    if (!model) throw new Error("a stream was opened before the model was loaded");
    const denoiser = new Denoiser(model, data.options);
    data.port.onmessage = serve(denoiser, data.port, answer);
    answer({ type: "opened", latency: denoiser.latency });
  } catch (error) {
    answer({ type: "failed", message: wordsOf(error) });
  }
};

/** Answers the requests of one stream, one after the other. */
function serve(
  denoiser: Denoiser,
  port: MessagePort,
  answer: (message: StreamAnswer, moved?: Transferable[]) => void,
): (event: MessageEvent<StreamRequest>) => void {
  let [given, until] = [0, 0]; // places of the next sample to come out, and to go in
  let turn: Promise<void> = Promise.resolve();

  async function work(request: StreamRequest): Promise<void> {
    if (request.type === "set") {
      if (request.strength !== undefined) denoiser.strength = request.strength;
      if (request.bypass !== undefined) denoiser.bypass = request.bypass;
      return;
    }
    if (request.type === "close") {
      port.close();
      return;
    }
    const begun = performance.now();
    let channels: Float32Array[];
    if (request.type === "flush") channels = await denoiser.flush();
    else {
      if (request.start !== until) {
        await denoiser.reset();
        given = request.start;
      }
      channels = await denoiser.process(request.channels);
      until = request.start + request.channels[0].length;
    }
    const type = request.type === "flush" ? "flushed" : "samples";
    const start = given;
    given = request.type === "flush" ? until : given + channels[0].length;
    const busy = performance.now() - begun;
    answer({ type, start, until, channels, busy }, channels.map((column) => column.buffer as ArrayBuffer));
  }

  return ({ data }) => {
    turn = turn.then(() => work(data)).catch((error) => answer({ type: "failed", message: wordsOf(error) }));
  };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
