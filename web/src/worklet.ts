/** The script of the AudioWorklet: between the sound card and the worker. */

import type { StreamAnswer, StreamRequest, WorkletOptions, WorkletRequest } from "./protocol.js";
import { Timeline } from "./timeline.js";

// What an AudioWorkletGlobalScope has; TypeScript's DOM library leaves it out.
declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(
  name: string,
  processor: new (options: { processorOptions: WorkletOptions }) => AudioWorkletProcessor,
): void;

const REPORT_SECONDS = 0.1;

class DenoiserProcessor extends AudioWorkletProcessor {
  readonly #timeline: Timeline;
  #worker: MessagePort | undefined;
  #closed = false;
  #reported = 0; // samples

  constructor({ processorOptions: { channels, delay, chunk } }: { processorOptions: WorkletOptions }) {
    super();
    this.#timeline = new Timeline(channels, delay, chunk, sampleRate);
    this.port.onmessage = ({ data }: MessageEvent<WorkletRequest>) => {
      if (data.type === "close") this.#closed = true;
      else if (data.type === "connect") this.#connect(data.port);
      else this.#worker?.postMessage(data satisfies StreamRequest);
    };
  }

  #connect(port: MessagePort): void {
    this.#worker = port;
    port.onmessage = ({ data }: MessageEvent<StreamAnswer>) => {
      if (data.type === "samples") this.#timeline.receive(data.start, data.until, data.channels, data.busy);
      else if (data.type === "failed") this.port.postMessage(data);
    };
  }

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    if (!this.#worker) return !this.#closed; // nothing counts before the worker listens
    const piece = this.#timeline.exchange(inputs[0], outputs[0]);
    if (piece) {
      const request: StreamRequest = { type: "samples", ...piece };
      this.#worker.postMessage(request, piece.channels.map((column) => column.buffer as ArrayBuffer));
    }
    this.#reported += outputs[0][0].length;
    if (this.#reported >= REPORT_SECONDS * sampleRate) {
      this.#reported = 0;
      this.port.postMessage({ type: "stats", stats: this.#timeline.stats(sampleRate) });
    }
    if (this.#closed) this.#worker.postMessage({ type: "close" } satisfies StreamRequest);
    return !this.#closed;
  }
}

registerProcessor("dtln-denoiser", DenoiserProcessor);
