"use strict";
// Players and spectrograms of a file, by wavesurfer.js. Its sound is in the page, in the folder beside it, or where the
// recordings lie; of the last, which pages from disk may play but not read, there are no spectrograms.

const SOUND_RATE = 16000; // Hz, as the metrics heard it
const SPECTROGRAM_HEIGHT = 128; // pixels
const arriving = new Map(); // row -> Promise of its clips
const waiting = new Map(); // row -> what resolves that promise
let players = []; // of the open file

function soundSignals() {
  return [NOISY, ...DATA.systems, CLEAN].filter((signal) => Object.hasOwn(DATA.links, signal));
}

// Called by the scripts in the folder beside the page.
function soundArrived(page, row, clips) {
  if (page !== DATA.id) waiting.get(row)?.reject(new Error("the folder belongs to another version of this page"));
  else waiting.get(row)?.resolve(clips);
}

// The clips of a row: a promise of signal -> {blob, seconds} or {error}; of {} where its sound lies elsewhere.
function clipsOf(row) {
  return storedClips(row).then(decoded);
}

// The same with {flac, seconds}, as the page and its folder hold them.
function storedClips(row) {
  if (DATA.folder === null) {
    const embedded = byId(`sound-${row}`);
    return Promise.resolve(embedded ? JSON.parse(embedded.textContent) : {});
  }
  if (!arriving.has(row)) {
    arriving.set(row, new Promise((resolve, reject) => {
      waiting.set(row, { resolve, reject });
      const failed = () => reject(new Error(`the folder ${DATA.folder} is not beside this page`));
      document.head.append(element("script", { src: `${encodeURIComponent(DATA.folder)}/${row}.js`, onerror: failed }));
    }));
    arriving.get(row).catch(() => arriving.delete(row)); // so that the next try looks again
  }
  return arriving.get(row);
}

// Clips as WAV: a seek in a short FLAC ends in an error in Chromium.
async function decoded(clips) {
  const context = new OfflineAudioContext(1, 1, SOUND_RATE);
  const decode = async ([signal, clip]) => {
    if (!clip.flac) return [signal, clip];
    const bytes = Uint8Array.from(atob(clip.flac), (letter) => letter.charCodeAt(0));
    const sound = await context.decodeAudioData(bytes.buffer);
    return [signal, { blob: wavOf(sound.getChannelData(0)), seconds: clip.seconds }];
  };
  return Object.fromEntries(await Promise.all(Object.entries(clips).map(decode)));
}

// Samples of SOUND_RATE as a WAV of 16 bits, what the FLAC has.
function wavOf(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (place, text) => [...text].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
  words(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  words(8, "WAVEfmt ");
  [[16, 16], [28, 2 * SOUND_RATE], [24, SOUND_RATE], [40, 2 * samples.length]].forEach(([place, value]) => view.setUint32(place, value, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([place, value]) => view.setUint16(place, value, true));
  words(36, "data");
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true));
  return new Blob([view], { type: "audio/wav" });
}

// The sound of one recording: {blob}, {url} or {problem}.
function soundOf(clips, signal, row) {
  const clip = clips[signal], link = DATA.links[signal][row];
  if (clip?.blob) return clip;
  if (clip?.error) return { problem: clip.error };
  if (link.startsWith("!")) return { problem: `${link.slice(1)}. \`dtln report --files\` converts it.` };
  return link ? { url: link } : { problem: "Where the recording lies is not known." };
}

function canSound(signal, row) {
  const link = DATA.links[signal]?.[row] ?? "";
  return DATA.folder !== null || DATA.embedded.includes(row) || (link !== "" && !link.startsWith("!"));
}

function fillDetail(cell, row) {
  const table = element("table", {}, headings(["", ...METRICS.map((key) => DATA.metrics[key])]),
    element("tbody", {}, ...SIGNALS.map((signal) => element("tr", {}, element("th", { scope: "row" }, signal),
      ...METRICS.map((key) => element("td", {}, shown(score(signal, key, row), key)))))));
  const found = (DATA.findings[row] ?? []).map((words) => element("li", {}, words));
  const boxes = element("div", { class: "recordings" });
  cell.append(element("div", { class: "inside" },
    element("h3", {}, DATA.names[row]),
    element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Scores of this file" }, table),
    found.length ? element("ul", { class: "worse" }, ...found) : "",
    boxes,
  ));
  cell.addEventListener("keydown", switchByKey);
  clipsOf(row).catch((error) => ({ failure: error.message })).then((clips) => {
    if (state.open !== row || !boxes.isConnected) return;
    if (clips.failure) boxes.append(element("p", { class: "worse" }, `No copied sound: ${clips.failure}.`));
    soundSignals().forEach((signal, index) => boxes.append(recordingBox(clips, signal, row, index + 1)));
  });
}

function recordingBox(clips, signal, row, key) {
  const box = element("div", { class: "recording" }, element("h3", {}, `${signal} `, element("kbd", {}, String(key))));
  const sound = soundOf(clips, signal, row);
  if (sound.problem) {
    box.append(element("p", { class: "note" }, sound.problem));
    return box;
  }
  const audio = element("audio", { controls: true, preload: "metadata", "aria-label": `${signal}: ${DATA.names[row]}`,
    "data-signal": signal });
  const player = { audio, signal, url: null, wave: null };
  audio.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.audio.pause();
    box.classList.add("playing");
  });
  audio.addEventListener("pause", () => box.classList.remove("playing"));
  players.push(player);
  if (sound.url) {
    audio.src = sound.url;
    audio.addEventListener("error", () => box.append(element("p", { class: "worse" }, "The recording does not play: it is not where it was.")));
    box.append(audio, element("p", { class: "note" }, "No spectrogram: this sound lies outside the page."));
    return box;
  }
  const picture = element("div", { class: "picture", role: "img",
    "aria-label": `Waveform and spectrogram of ${signal}, 0 to ${SOUND_RATE / 2000} kHz` });
  box.append(audio, picture);
  if (sound.seconds > audioLimit()) box.append(element("p", { class: "note" }, `The first ${audioLimit()} s of ${sound.seconds.toFixed(0)} s.`));
  player.wave = WaveSurfer.create({
    container: picture, media: audio, height: 32, sampleRate: SOUND_RATE, waveColor: colour(NOISY),
    progressColor: colour(signal === CLEAN ? NOISY : signal), cursorColor: colour(NOISY),
    plugins: [WaveSurfer.Spectrogram.create({ height: SPECTROGRAM_HEIGHT, labels: true, scale: "linear",
      fftSamples: 512, frequencyMax: SOUND_RATE / 2, colorMap: "roseus" })],
  });
  player.wave.on("error", (error) => {
    const what = audio.error ? "The recording does not play" : "No picture";
    box.append(element("p", { class: "worse" }, `${what}: ${error.message ?? error}`));
  });
  player.wave.loadBlob(sound.blob);
  return box;
}

function audioLimit() {
  return DATA.longest_seconds;
}

function releasePlayers() {
  for (const { audio, wave } of players) {
    audio.pause();
    wave?.destroy();
  }
  players = [];
}

// Plays; that a pause comes before the start is no error, and what does not play tells so by its "error" event.
function play(audio) {
  audio.play().catch(() => {});
}

// Keys 1, 2, 3: the same place in another recording of the open file; 0 stops.
function switchByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !/^[0-9]$/.test(event.key)) return;
  const wanted = soundSignals()[Number(event.key) - 1];
  const next = players.find((player) => player.signal === wanted);
  if (event.key !== "0" && !next) return;
  event.preventDefault();
  const current = players.find((player) => !player.audio.paused);
  current?.audio.pause();
  if (!next) return;
  if (current) next.audio.currentTime = current.audio.currentTime;
  play(next.audio);
}
