/** Recordings: opened, denoised and played. */

import type { DenoiserWorker } from "../src/client.js";
import { sampleRateOf } from "../src/wav.js";

const USUAL_RATE = 48000; // Hz, for files that do not say theirs where we look
const RAMP = 0.01; // s
const PIECE_SECONDS = 1;

export interface Recording {
  name: string;
  sound: AudioBuffer;
}

/** The samples of a sound. To be used at once and not kept: browsers may take them away where the sound plays. */
export function channelsOf(sound: AudioBuffer): Float32Array[] {
  return Array.from({ length: sound.numberOfChannels }, (_, n) => sound.getChannelData(n));
}

/**
 * Opens any file that the browser knows; wav and FLAC at their own rate. Throws an Error that names the file.
 *
 * read: gives what the file holds, anew each time. Decoding takes it away, and a copy of an hour would be too large.
 */
export async function open(name: string, read: () => Promise<ArrayBuffer>): Promise<Recording> {
  const bytes = await read().catch((error: Error) => {
    throw new Error(`${name}: cannot be read (${error.message}). Expected a file that is still there, no folder.`);
  });
  if (!bytes.byteLength) throw new Error(`${name}: is empty. Expected an audio file, or a video with sound.`);
  const decode = async (bytes: ArrayBuffer, rate: number) => new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  const rate = sampleRateOf(bytes) ?? USUAL_RATE;
  try {
    const sound = await decode(bytes, rate).catch(async (error) => {
      if (rate === USUAL_RATE) throw error;
      return decode(await read(), USUAL_RATE); // not every browser has a context at every rate
    });
    return { name, sound };
  } catch {
    throw new Error(`${name}: this browser cannot read it. Expected an audio file, or a video with sound.`);
  }
}

/**
 * Denoises a sound piece by piece. progress: is told the share that is done, and says whether to go on. Returns the
 * denoised sound and the seconds that the worker took; undefined where it was not to go on.
 */
export async function denoise(
  worker: DenoiserWorker,
  sound: AudioBuffer,
  progress: (share: number) => boolean,
): Promise<{ denoised: AudioBuffer; seconds: number } | undefined> {
  const { sampleRate, numberOfChannels, length } = sound;
  const stream = await worker.open({ sampleRate, channels: numberOfChannels, level: "auto" });
  const denoised = new AudioBuffer({ sampleRate, numberOfChannels, length });
  const [channels, columns] = [sound, denoised].map(channelsOf);
  let given = 0;
  const take = (pieces: Float32Array[]) => {
    for (const [channel, piece] of pieces.entries()) columns[channel].set(piece, given);
    given += pieces[0].length;
  };
  for (let start = 0; start < length; start += PIECE_SECONDS * sampleRate) {
    take(await stream.process(channels.map((column) => column.subarray(start, start + PIECE_SECONDS * sampleRate))));
    if (!progress(Math.min(1, start / length))) {
      stream.close();
      return undefined;
    }
  }
  take(await stream.flush());
  const seconds = stream.busy / 1e3;
  stream.close();
  return { denoised, seconds };
}

/** Plays a sound and its denoised version together, and mixes them in any shares. */
export class Player {
  readonly original: GainNode; // what the recording is, whatever is heard
  readonly output: GainNode;
  readonly duration: number;
  onended = (): void => {};
  readonly #context: AudioContext;
  readonly #buffers: AudioBuffer[];
  readonly #gains: GainNode[];
  #sources: AudioBufferSourceNode[] = [];
  #begun = 0; // the context's time at which position 0 was, or would have been
  #position = 0; // s, while nothing plays

  constructor(context: AudioContext, sound: AudioBuffer, denoised: AudioBuffer) {
    this.#context = context;
    this.#buffers = [sound, denoised];
    this.duration = sound.duration;
    this.original = new GainNode(context);
    this.output = new GainNode(context);
    this.#gains = [0, 1].map((gain) => new GainNode(context, { gain }));
    for (const gain of this.#gains) gain.connect(this.output);
    this.output.connect(context.destination);
  }

  get playing(): boolean {
    return this.#sources.length > 0;
  }

  get position(): number {
    if (!this.playing) return this.#position;
    return Math.max(0, Math.min(this.duration, this.#context.currentTime - this.#begun)); // they begin a little later
  }

  /** Hears the denoised version in this share from now on, the recording in the rest. */
  mix(strength: number): void {
    for (const [n, gain] of this.#gains.entries()) {
      gain.gain.setTargetAtTime(n ? strength : 1 - strength, this.#context.currentTime, RAMP / 3);
    }
  }

  play(position = this.#position): void {
    this.pause();
    const from = position >= this.duration ? 0 : position;
    const at = this.#context.currentTime + 0.02; // both begin at the same sample
    this.#sources = this.#buffers.map((buffer, n) => {
      const source = new AudioBufferSourceNode(this.#context, { buffer });
      source.connect(this.#gains[n]);
      if (n === 0) source.connect(this.original);
      source.start(at, from);
      return source;
    });
    this.#begun = at - from;
    const [source] = this.#sources;
    source.onended = () => {
      if (source !== this.#sources[0]) return; // it was stopped
      this.#sources = [];
      this.#position = 0;
      this.onended();
    };
  }

  pause(): void {
    this.#position = this.position;
    const sources = this.#sources;
    this.#sources = [];
    for (const source of sources) source.stop();
  }

  seek(position: number): void {
    if (this.playing) this.play(position);
    else this.#position = position;
  }

  close(): void {
    this.pause();
    this.output.disconnect();
  }
}
