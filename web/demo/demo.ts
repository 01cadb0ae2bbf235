/** The page: docs/demo/index.html. */

import { DenoiserWorker } from "../src/client.js";
import { encodeWav } from "../src/wav.js";
import { Microphone } from "./microphone.js";
import { channelsOf, denoise, open, Player } from "./sounds.js";
import type { Recording } from "./sounds.js";
import { Spectrogram } from "./spectrogram.js";

const ASSETS = new URL("./", import.meta.url);
const LONGEST_RECORDING = 600; // s, of the microphone: it is kept in memory

const element = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;
const [play, download, microphoneButton] = ["play", "download", "microphone"].map((id) => element<HTMLButtonElement>(id));
const [seek, strength, monitor, file] = ["seek", "strength", "monitor", "file"].map((id) => element<HTMLInputElement>(id));
const spectrograms = ["spectrogram-in", "spectrogram-out"].map((id) => new Spectrogram(element<HTMLCanvasElement>(id)));

let audio: AudioContext | undefined;
let worker: Promise<DenoiserWorker> | undefined;
let player: Player | undefined;
let microphone: Microphone | undefined;
let opened: { recording: Recording; denoised: AudioBuffer } | undefined;
let task = 0; // counts what the user began; what is older than the last one stops

element("unbuilt").hidden = true;

function tell(words: string, isError = false): void {
  element("status").textContent = words;
  element("status").classList.toggle("error", isError);
}

/** Runs what a user asked for, in place of what was asked for before; tells what went wrong. */
function attempt(work: (mine: number) => Promise<void>): void {
  const mine = ++task;
  element("progress").hidden = true;
  work(mine).catch((error: unknown) => {
    if (mine !== task) return;
    element("progress").hidden = true;
    tell(error instanceof Error ? error.message : String(error), true);
  });
}

function context(): AudioContext {
  audio ??= new AudioContext({ latencyHint: "interactive" });
  void audio.resume();
  return audio;
}

async function network(): Promise<DenoiserWorker> {
  tell("Loading the network, 18 MB the first time …");
  worker ??= DenoiserWorker.start({ assets: ASSETS });
  worker.catch(() => (worker = undefined)); // the next attempt loads it anew
  return worker;
}

/** The share of the denoised signal that is to be heard. */
function wanted(): number {
  const original = document.querySelector<HTMLInputElement>("input[value=original]")!.checked;
  return original ? 0 : Number(strength.value) / 100;
}

function applyMix(): void {
  element("strength-value").textContent = `${strength.value} %`;
  player?.mix(wanted());
  if (microphone) {
    microphone.denoiser.strength = Number(strength.value) / 100;
    microphone.denoiser.bypass = document.querySelector<HTMLInputElement>("input[value=original]")!.checked;
  }
}

/** Denoises a recording and puts it into the player. note: what to say before the rest. */
async function take(recording: Recording, mine: number, note = ""): Promise<void> {
  if (mine !== task) return;
  const { name, sound } = recording;
  const denoiser = await network();
  if (mine !== task) return;
  const bar = element<HTMLProgressElement>("progress");
  bar.hidden = false;
  tell(`Denoising ${name} …`);
  const result = await denoise(denoiser, sound, (share) => {
    if (mine === task) bar.value = share;
    return mine === task;
  });
  if (!result || mine !== task) return;
  bar.hidden = true;
  player?.close();
  player = new Player(context(), sound, result.denoised);
  player.onended = showPlaying;
  opened = { recording, denoised: result.denoised };
  spectrograms[0].listen(player.original);
  spectrograms[1].listen(player.output);
  applyMix();
  seek.max = String(player.duration);
  const load = result.seconds / player.duration;
  showFigures(load, undefined, "none");
  const { sampleRate, numberOfChannels: count } = sound;
  const kind = `${sampleRate / 1000} kHz, ${count === 1 ? "one channel" : `${count} channels`}`;
  tell(`${note}${name} (${kind}): ${player.duration.toFixed(1)} s took ${result.seconds.toFixed(2)} s. Play it, and switch.`);
  showPlaying();
}

async function takeFile(name: string, read: () => Promise<ArrayBuffer>, mine: number): Promise<void> {
  player?.pause();
  showPlaying();
  tell(`Opening ${name} …`);
  const recording = await open(name, read);
  if (mine !== task) return;
  stopMicrophone(); // not before: a file that cannot be read must not cost what was recorded
  await take(recording, mine);
}

async function startMicrophone(mine: number): Promise<void> {
  player?.pause();
  showPlaying();
  const denoiser = await network();
  if (mine !== task) return;
  tell("Waiting for the microphone …");
  const opening = await Microphone.open(context(), denoiser, ASSETS);
  if (mine !== task) {
    opening.close();
    return;
  }
  microphone = opening;
  spectrograms[0].listen(microphone.source);
  spectrograms[1].listen(microphone.denoiser);
  microphone.denoiser.addEventListener("stats", () => {
    const { load, underruns, lateFrames } = opening.denoiser.stats;
    const delay = opening.denoiser.latency.seconds + (audio?.baseLatency ?? 0) + (audio?.outputLatency ?? 0);
    showFigures(load, delay, underruns ? `${underruns}, of ${lateFrames} samples` : "0");
    if (opening === microphone && opening.seconds > LONGEST_RECORDING) attempt(endRecording);
  });
  microphone.onended = () => attempt((mine) => endRecording(mine, "The microphone is gone. "));
  microphone.denoiser.addEventListener("failure", (event) => tell((event as CustomEvent<Error>).detail.message, true));
  monitor.checked = false;
  applyMix();
  showMicrophone();
  tell("The microphone is on. Stop it to listen to what it recorded, before and after.");
}

function stopMicrophone(): Recording | undefined {
  const recording = microphone?.close();
  microphone = undefined;
  showMicrophone();
  return recording;
}

async function endRecording(mine: number, note?: string): Promise<void> {
  const recording = stopMicrophone();
  if (recording) await take(recording, mine, note);
  else tell(`${note ?? ""}Nothing was recorded.`, true);
}

// --- what is shown ---------------------------------------------------------------------------------------------------

function showMicrophone(): void {
  microphoneButton.classList.toggle("running", !!microphone);
  microphoneButton.querySelector(".name")!.textContent = microphone ? "Stop the microphone" : "Use the microphone";
  element("monitor-label").hidden = !microphone;
  showPlaying();
}

function showPlaying(): void {
  play.textContent = player?.playing ? "Pause" : "Play";
  for (const control of [play, seek, download]) control.disabled = !player || !!microphone;
  showPosition();
}

function showPosition(): void {
  const seconds = microphone ? microphone.seconds : (player?.position ?? 0);
  element("time").textContent = clock(seconds) + (player && !microphone ? ` of ${clock(player.duration)}` : "");
  if (player && !microphone) {
    seek.value = String(player.position);
    seek.setAttribute("aria-valuetext", clock(seconds));
  }
}

function clock(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

function showFigures(load: number, delay: number | undefined, late: string): void {
  element<HTMLMeterElement>("load").value = load;
  element("load-value").textContent = `${(100 * load).toFixed(load < 0.1 ? 1 : 0)} %`;
  element("delay").textContent = delay === undefined ? "none: aligned" : `${Math.round(1000 * delay)} ms`;
  element("underruns").textContent = late;
}

let drawn = performance.now();
function draw(now: number): void {
  if (microphone || player?.playing) {
    for (const spectrogram of spectrograms) spectrogram.draw((now - drawn) / 1e3);
    showPosition();
  }
  drawn = now;
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);

// --- what users do ---------------------------------------------------------------------------------------------------

file.addEventListener("change", () => {
  const [chosen] = file.files ?? [];
  if (chosen) attempt((mine) => takeFile(chosen.name, () => chosen.arrayBuffer(), mine));
  file.value = ""; // the same file can be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const [dropped] = event.dataTransfer?.files ?? [];
  if (dropped) attempt((mine) => takeFile(dropped.name, () => dropped.arrayBuffer(), mine));
  else tell("What was dropped is no file. Expected a recording from a folder of this computer.", true);
});
element("sample").addEventListener("click", () => {
  const read = async () => {
    const response = await fetch(new URL("sample.wav", ASSETS));
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    return response.arrayBuffer();
  };
  attempt((mine) => takeFile("sample.wav", read, mine));
});
microphoneButton.addEventListener("click", () => attempt(microphone ? endRecording : startMicrophone));
monitor.addEventListener("change", () => {
  microphone?.monitor.gain.setTargetAtTime(monitor.checked ? 1 : 0, context().currentTime, 0.01);
});
play.addEventListener("click", () => {
  context();
  if (player?.playing) player.pause();
  else player?.play();
  showPlaying();
});
seek.addEventListener("input", () => {
  player?.seek(Number(seek.value));
  showPosition();
});
strength.addEventListener("input", applyMix);
element("ab").addEventListener("change", applyMix);
element("player").addEventListener("keydown", (event) => {
  const value = { a: "original", b: "denoised" }[event.key.toLowerCase()];
  if (!value || event.ctrlKey || event.metaKey || event.altKey) return;
  document.querySelector<HTMLInputElement>(`input[value=${value}]`)!.checked = true;
  applyMix();
});
download.addEventListener("click", () => {
  if (!opened) return;
  const { recording, denoised } = opened;
  const share = Number(strength.value) / 100;
  const [originals, columns] = [recording.sound, denoised].map(channelsOf);
  const mix = (column: Float32Array, original: Float32Array) =>
    column.map((sample, place) => share * sample + (1 - share) * original[place]);
  const mixed = share === 1 ? columns : columns.map((column, n) => mix(column, originals[n])); // hours are large
  const bytes = encodeWav(mixed, denoised.sampleRate) as Uint8Array<ArrayBuffer>;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
  link.download = `${recording.name.replace(/\.[^.]*$/, "")}_denoised.wav`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});
