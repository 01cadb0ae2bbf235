/** A denoiser between two nodes of an AudioContext. */

import { DenoiserWorker } from "./client.js";
import type { WorkerOptions } from "./client.js";
import { checkedStream, checkedStrength } from "./options.js";
import type { StreamOptions } from "./options.js";
import type { Latency } from "./facts.js";
import type { DenoiserStats, Failed, WorkletRequest } from "./protocol.js";

const QUANTUM = 128; // samples that a worklet gets at once
const CHUNK_SECONDS = 0.005; // about so much goes to the worker at once: fewer messages, not much later
const MARGIN_SECONDS = 0.02; // for the way to the worker and back, and for threads that have to wait
const LEAST_BURST_SECONDS = 0.01; // of samples that a sound card wants at once: Firefox says 0 of it

export interface DenoiserNodeOptions extends Omit<StreamOptions, "sampleRate"> {
  /** A worker that is there already; without it, one is started with `assets` and `model`, and ends with the node. */
  worker?: DenoiserWorker;
  assets?: WorkerOptions["assets"];
  model?: WorkerOptions["model"];
  /** Seconds that denoised samples may take to come back. By default the context's `baseLatency`, or 10 ms, and 20 ms. */
  buffer?: number;
}

/** AudioWorkletNode, where there is one: node.js has none, and still loads this module for the rest of the package. */
const Base = globalThis.AudioWorkletNode ?? (class {} as unknown as typeof AudioWorkletNode);
const modules = new WeakMap<BaseAudioContext, Promise<void>>();

/**
 * Denoises what is connected to it, at the rate of its context, `latency` later: also while it is bypassed.
 *
 * Ten times a second it fires "stats", after which `stats` says how many samples came too late and how busy the worker
 * is. In their place the input was played. It fires "failure", a CustomEvent with an Error, where the worker fails.
 */
export class DenoiserNode extends Base {
  /** From the input of the node to its output. The context adds its own. */
  readonly latency!: Latency;
  stats: DenoiserStats = { frames: 0, underruns: 0, lateFrames: 0, skippedFrames: 0, load: 0 };
  #strength!: number;
  #bypass!: boolean;
  #ownWorker: DenoiserWorker | undefined;

  /**
   * Makes a node, once worker and worklet are ready. Rejects with an Error where a file of them is missing, with a
   * RangeError for settings that there are not, and in an OfflineAudioContext, which waits for no worker.
   */
  static async create(context: BaseAudioContext, options: DenoiserNodeOptions): Promise<DenoiserNode> {
    if (typeof OfflineAudioContext !== "undefined" && context instanceof OfflineAudioContext) {
      throw new Error("an OfflineAudioContext waits for no worker. Expected an AudioContext; use Denoiser for recordings.");
    }
    if (!context.audioWorklet) throw new Error("a page gets an AudioWorklet only over https, or from localhost.");
    const settings = checkedStream({ ...options, sampleRate: context.sampleRate });
    const burst = Math.max((context as AudioContext).baseLatency ?? 0, LEAST_BURST_SECONDS);
    const { model, assets, buffer = burst + MARGIN_SECONDS } = options;
    if (!(buffer >= 0 && buffer <= 10)) {
      throw new RangeError(`a buffer of ${buffer} was given. Expected seconds, 0 to 10.`);
    }
    const own = options.worker ? undefined : await DenoiserWorker.start({ ...(assets && { assets }), ...(model && { model }) });
    const worker = options.worker ?? own!;
    try {
      if (!modules.has(context)) {
        const script = new URL("worklet.js", worker.assets);
        const added = context.audioWorklet.addModule(script).catch((error) => {
          modules.delete(context);
          throw new Error(`${script}: cannot be loaded (${error.message}). Expected the built worklet.`);
        });
        modules.set(context, added);
      }
      await modules.get(context);
      const { port, latency } = await worker.connect(settings);
      return new DenoiserNode(context, settings, buffer, port, latency, own);
    } catch (error) {
      own?.terminate();
      throw error;
    }
  }

  private constructor(
    context: BaseAudioContext,
    settings: Required<StreamOptions>,
    buffer: number,
    port: MessagePort,
    latency: Latency,
    ownWorker: DenoiserWorker | undefined,
  ) {
    const { channels } = settings;
    const chunk = QUANTUM * Math.max(1, Math.round((CHUNK_SECONDS * context.sampleRate) / QUANTUM));
    const delay = latency.samples + chunk + Math.ceil(buffer * context.sampleRate);
    super(context, "dtln-denoiser", {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      outputChannelCount: [channels],
      channelCount: channels,
      channelCountMode: "explicit",
      processorOptions: { channels, delay, chunk },
    });
    this.latency = { samples: delay, seconds: delay / context.sampleRate };
    this.#strength = settings.strength;
    this.#bypass = settings.bypass;
    this.#ownWorker = ownWorker;
    this.port.onmessage = ({ data }: MessageEvent<{ type: "stats"; stats: DenoiserStats } | Failed>) => {
      if (data.type === "stats") {
        this.stats = data.stats;
        this.dispatchEvent(new Event("stats"));
      } else this.dispatchEvent(new CustomEvent("failure", { detail: new Error(data.message) }));
    };
    this.port.postMessage({ type: "connect", port } satisfies WorkletRequest, [port]);
  }

  /** The share of the denoised signal in what comes out, from 0 to 1. A new one is reached without a click. */
  get strength(): number {
    return this.#strength;
  }

  set strength(strength: number) {
    this.#strength = checkedStrength(strength);
    this.port.postMessage({ type: "set", strength } satisfies WorkletRequest);
  }

  /** Whether the input comes out, as late as the denoised samples would. */
  get bypass(): boolean {
    return this.#bypass;
  }

  set bypass(bypass: boolean) {
    this.#bypass = bypass;
    this.port.postMessage({ type: "set", bypass } satisfies WorkletRequest);
  }

  /** Ends the node, and the worker that was started for it. */
  close(): void {
    this.disconnect();
    this.port.postMessage({ type: "close" } satisfies WorkletRequest);
    this.#ownWorker?.terminate();
  }
}
