/** The microphone through the denoiser, and recorded as it is. */

import type { DenoiserWorker } from "../src/client.js";
import { DenoiserNode } from "../src/node.js";
import type { Recording } from "./sounds.js";

const WORDS: Record<string, string> = {
  NotAllowedError: "The browser did not give this page the microphone. Allow it in the address bar.",
  NotFoundError: "The browser found no microphone. Plug one in, and try again.",
  NotReadableError: "The microphone cannot be opened. Another program may have it.",
};
const tapped = new WeakSet<AudioContext>();

export class Microphone {
  readonly source: AudioNode;
  readonly denoiser: DenoiserNode;
  readonly monitor: GainNode; // 0 unless the user hears what comes in
  seconds = 0; // recorded
  onended = (): void => {}; // unplugged, or taken away by the browser
  readonly #stream: MediaStream;
  readonly #tap: AudioWorkletNode;
  readonly #pieces: Float32Array[] = [];

  /** Asks for a microphone, without what browsers do to its sound. Rejects with an Error that says why there is none. */
  static async open(context: AudioContext, worker: DenoiserWorker, assets: URL): Promise<Microphone> {
    if (!navigator.mediaDevices) throw new Error("A page gets a microphone only over https, or from localhost.");
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    const stream = await navigator.mediaDevices.getUserMedia({ audio }).catch((error: Error) => {
      throw new Error(WORDS[error.name] ?? `The microphone cannot be opened (${error.message}).`);
    });
    try {
      const script = new URL("tap.js", assets);
      if (!tapped.has(context)) {
        await context.audioWorklet.addModule(script).catch((error: Error) => {
          throw new Error(`${script}: cannot be loaded (${error.message}). Is the server still there?`);
        });
      }
      tapped.add(context);
      const denoiser = await DenoiserNode.create(context, { worker, level: "auto" });
      return new Microphone(context, stream, denoiser);
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
  }

  private constructor(context: AudioContext, stream: MediaStream, denoiser: DenoiserNode) {
    this.#stream = stream;
    for (const track of stream.getTracks()) track.onended = () => this.onended();
    this.denoiser = denoiser;
    this.source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    this.monitor = new GainNode(context, { gain: 0 });
    this.#tap = new AudioWorkletNode(context, "dtln-tap", { channelCount: 1, channelCountMode: "explicit" });
    this.#tap.port.onmessage = ({ data: [samples] }: MessageEvent<Float32Array[]>) => {
      this.#pieces.push(samples);
      this.seconds += samples.length / context.sampleRate;
    };
    this.source.connect(this.#tap).connect(new GainNode(context, { gain: 0 })).connect(context.destination);
    this.source.connect(denoiser).connect(this.monitor).connect(context.destination);
  }

  /** Gives the microphone back; returns what it heard, if that is anything. */
  close(): Recording | undefined {
    for (const track of this.#stream.getTracks()) track.stop();
    this.source.disconnect();
    this.#tap.disconnect();
    this.monitor.disconnect();
    this.denoiser.close();
    const length = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (!length) return undefined;
    const sound = new AudioBuffer({ length, sampleRate: this.source.context.sampleRate });
    const whole = sound.getChannelData(0);
    let end = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, end);
      end += piece.length;
    }
    return { name: "microphone.wav", sound };
  }
}
