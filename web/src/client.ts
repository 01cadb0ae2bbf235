/** The worker, from the page's side: recordings denoised beside the page, and streams for worklets. */

import { checkedColumns, checkedStream, checkedStrength } from "./options.js";
import { joined } from "./queue.js";
import type { Samples, StreamOptions } from "./options.js";
import type { Latency } from "./facts.js";
import type { Denoised, Failed, StreamAnswer, StreamRequest, WorkerAnswer, WorkerRequest } from "./protocol.js";

export interface WorkerOptions {
  /** The folder with the files of dist that are no part of a script: by default that of the script. */
  assets?: string | URL;
  /** The address of another model than model_stream.onnx in that folder, or what its file holds. */
  model?: string | URL | ArrayBuffer | Uint8Array;
}

/** A worker with a model. Streams share it: each is denoised in its turn. */
export class DenoiserWorker {
  /** The folder with worker.js, worklet.js, ort-wasm-simd-threaded.wasm and model_stream.onnx. */
  readonly assets: URL;
  readonly #worker: Worker;
  readonly #streams = new Set<DenoiserStream>(); // that are open
  readonly #opening = new Set<(error: Error) => void>(); // ends the wait for a stream
  #ended = false;

  private constructor(worker: Worker, assets: URL) {
    this.#worker = worker;
    this.assets = assets;
  }

  /** Starts the worker and loads the model. Rejects with an Error where one of the files is not there or not right. */
  static async start(options: WorkerOptions = {}): Promise<DenoiserWorker> {
    if (!globalThis.location || !globalThis.Worker) {
      throw new Error("a DenoiserWorker was started outside of a browser. Use Denoiser, which needs no worker.");
    }
    const assets = new URL(options.assets ?? "./", options.assets ? location.href : import.meta.url);
    const model = options.model ?? new URL("model_stream.onnx", assets);
    const source = model instanceof URL || typeof model === "string" ? String(new URL(model, location.href)) : model;
    const script = new URL("worker.js", assets);
    const worker = new Worker(script, { type: "module" });
    const loaded = new Promise<void>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<WorkerAnswer>) =>
        data.type === "loaded" ? resolve() : reject(new Error(data.message));
      worker.onerror = (event) =>
        reject(
          new Error(
            `${script}: cannot be started (${event.message || "not found, or not served as JavaScript"}). ` +
              "Expected the built worker.",
          ),
        );
    });
    const request: WorkerRequest = {
      type: "load",
      model: source instanceof ArrayBuffer ? new Uint8Array(source) : source,
      wasm: String(new URL("ort-wasm-simd-threaded.wasm", assets)),
    };
    worker.postMessage(request);
    try {
      await loaded;
    } catch (error) {
      worker.terminate();
      throw error;
    }
    return new DenoiserWorker(worker, assets);
  }

  /** Opens a stream. Rejects with a RangeError for settings that there are not. */
  async open(options: StreamOptions = {}): Promise<DenoiserStream> {
    const settings = checkedStream(options);
    const { port, latency } = await this.connect(settings);
    const stream: DenoiserStream = new DenoiserStream(port, settings, latency, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }

  /** The port of a new stream, for a worklet or a class of one's own, and the stream's latency. See protocol.ts. */
  async connect(options: StreamOptions): Promise<{ port: MessagePort; latency: Latency }> {
    if (this.#ended) throw new Error("the worker has ended. Start a new DenoiserWorker.");
    const { port1: port, port2 } = new MessageChannel();
    let giveUp: (error: Error) => void;
    const opened = new Promise<Latency>((resolve, reject) => {
      giveUp = reject;
      this.#opening.add(reject);
      port.onmessage = ({ data }: MessageEvent<StreamAnswer>) =>
        data.type === "opened" ? resolve(data.latency) : reject(new Error((data as Failed).message));
    }).finally(() => this.#opening.delete(giveUp));
    this.#worker.postMessage({ type: "open", port: port2, options } satisfies WorkerRequest, [port2]);
    const latency = await opened;
    port.onmessage = null;
    return { port, latency };
  }

  /** Ends the worker, and with it every stream. */
  terminate(): void {
    this.#ended = true;
    this.#worker.terminate();
    for (const reject of this.#opening) reject(new Error("the worker has ended. Start a new DenoiserWorker."));
    for (const stream of this.#streams) stream.close();
  }
}

/** A stream in a worker: what `Denoiser` does, without a moment of the page's time. */
export class DenoiserStream {
  readonly sampleRate: number;
  readonly channels: number;
  readonly latency: Latency;
  /** The ms that the worker has spent on this stream. */
  busy = 0;
  readonly #port: MessagePort;
  readonly #whenClosed: () => void;
  readonly #waiting: { resolve: (channels: Float32Array[]) => void; reject: (error: Error) => void }[] = [];
  #closed = false;
  #taken = 0;
  #strength: number;
  #bypass: boolean;

  /** Of a port from `DenoiserWorker.connect`; `DenoiserWorker.open` does both. */
  constructor(port: MessagePort, options: Required<StreamOptions>, latency: Latency, whenClosed = (): void => {}) {
    this.sampleRate = options.sampleRate;
    this.channels = options.channels;
    this.latency = latency;
    this.#strength = options.strength;
    this.#bypass = options.bypass;
    this.#port = port;
    this.#whenClosed = whenClosed;
    port.onmessage = ({ data }: MessageEvent<Denoised | Failed>) => {
      const waiting = this.#waiting.shift();
      if (data.type === "failed") waiting?.reject(new Error(data.message));
      else {
        this.busy += data.busy;
        waiting?.resolve(data.channels);
      }
    };
  }

  get strength(): number {
    return this.#strength;
  }

  set strength(strength: number) {
    this.#strength = checkedStrength(strength);
    this.#send({ type: "set", strength });
  }

  get bypass(): boolean {
    return this.#bypass;
  }

  set bypass(bypass: boolean) {
    this.#bypass = bypass;
    this.#send({ type: "set", bypass });
  }

  /** Takes samples, of which it keeps no copy, and returns those that are complete by now, in the same form. */
  process(samples: Float32Array): Promise<Float32Array>;
  process(samples: Float32Array[]): Promise<Float32Array[]>;
  async process(samples: Samples): Promise<Samples> {
    const single = !Array.isArray(samples);
    const channels = checkedColumns(single ? [samples] : samples, this.channels).map((column) => column.slice());
    const start = this.#taken;
    this.#taken += channels[0].length;
    const result = await this.#ask({ type: "samples", start, channels });
    return single ? result[0] : result;
  }

  /** Returns the rest of each channel; a new signal may begin. */
  flush(): Promise<Float32Array[]> {
    return this.#ask({ type: "flush" });
  }

  /** Forgets the signal so far, so that a new one can begin. */
  async reset(): Promise<void> {
    await this.flush();
  }

  /** Denoises a whole signal, aligned; forgets what came before it, and it. */
  denoise(signal: Float32Array): Promise<Float32Array>;
  denoise(signal: Float32Array[]): Promise<Float32Array[]>;
  async denoise(signal: Samples): Promise<Samples> {
    const single = !Array.isArray(signal);
    const [, first, rest] = await Promise.all([this.reset(), this.process(single ? [signal] : signal), this.flush()]);
    const whole = first.map((column, channel) => joined(column, rest[channel]));
    return single ? whole[0] : whole;
  }

  /** Ends the stream. What is not answered yet is rejected, and so is all that is asked for later. */
  close(): void {
    this.#send({ type: "close" });
    this.#port.close();
    this.#closed = true;
    this.#whenClosed();
    for (const { reject } of this.#waiting.splice(0)) reject(new Error("the stream is closed"));
  }

  async #ask(request: StreamRequest): Promise<Float32Array[]> {
    if (this.#closed) throw new Error("the stream is closed");
    const moved = request.type === "samples" ? request.channels.map((column) => column.buffer as ArrayBuffer) : [];
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#send(request, moved);
    });
  }

  #send(request: StreamRequest, moved: Transferable[] = []): void {
    this.#port.postMessage(request, moved);
  }
}
