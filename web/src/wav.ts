/** Wav files, written. */

import { checkedColumns, checkedRate } from "./options.js";

/** A wav file with 16-bit samples, rounded and clipped. signal: of one channel, or of each, with full scale 1. */
export function encodeWav(signal: Float32Array | readonly Float32Array[], sampleRate: number): Uint8Array {
  const columns = signal instanceof Float32Array ? [signal] : signal;
  const channels = checkedColumns(columns, Math.max(1, columns.length));
  checkedRate(sampleRate);
  const [count, length] = [channels.length, channels[0].length];
  const bytes = new Uint8Array(44 + 2 * count * length);
  const view = new DataView(bytes.buffer);
  const text = (offset: number, word: string) => bytes.set(new TextEncoder().encode(word), offset);
  text(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, count, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * count * sampleRate, true);
  view.setUint16(32, 2 * count, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes.length - 44, true);
  for (const [channel, samples] of channels.entries()) {
    for (let n = 0; n < length; n++) {
      const value = Math.max(-32768, Math.min(32767, Math.round(samples[n] * 32768)));
      view.setInt16(44 + 2 * (n * count + channel), value, true);
    }
  }
  return bytes;
}

/**
 * The sample rate in the header of a wav or FLAC file; undefined for other files.
 *
 * `decodeAudioData` resamples to the rate of its context without a word: a context of this rate takes samples as they
 * are.
 */
export function sampleRateOf(file: ArrayBuffer | Uint8Array): number | undefined {
  const bytes = file instanceof Uint8Array ? file : new Uint8Array(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (offset: number) => new TextDecoder("latin1").decode(bytes.subarray(offset, offset + 4));
  if (text(0) === "RIFF" && text(8) === "WAVE") {
    for (let chunk = 12; chunk + 16 <= file.byteLength; chunk += 8 + Math.ceil(view.getUint32(chunk + 4, true) / 2) * 2) {
      if (text(chunk) === "fmt ") return view.getUint32(chunk + 12, true);
    }
  }
  if (text(0) === "fLaC" && file.byteLength >= 22) return view.getUint32(18) >>> 12; // 20 bits of STREAMINFO
  return undefined;
}
