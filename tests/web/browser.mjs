// Drives headless Chromium, or Firefox where `browser` names one: node browser.mjs SCENARIO ADDRESS FOLDER [JSON], in a folder with the package's node_modules
//
// What pages made lies in FOLDER afterwards; what they said is printed as JSON. Every scenario reports which addresses
// were asked for, and what went wrong in the page. With `pictures` in the JSON, screenshots lie in FOLDER as well, of
// which "listening denoised again.png", cut to the page, is docs/images/demo.png.

import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const require = createRequire(path.resolve("package.json"));
const { chromium, firefox } = require("playwright-core");
const [scenario, address, folder, json = "{}"] = process.argv.slice(2);
const { browser: executablePath, microphone, ...options } = JSON.parse(json);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  "--use-fake-device-for-media-stream", options.denied ? "--deny-permission-prompts" : "--use-fake-ui-for-media-stream",
];
if (microphone) FLAGS.push(`--use-file-for-fake-audio-capture=${microphone}`);

const inFirefox = path.basename(executablePath).startsWith("firefox");
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "dtln-browser-"));
const usual = { executablePath, headless: true, viewport: { width: 1100, height: 1150 } };
// `moz-firefox` is an ordinary Firefox, spoken to by WebDriver BiDi, which it knows without geckodriver.
const context = await (inFirefox
  ? firefox.launchPersistentContext(profile, { ...usual, channel: "moz-firefox" })
  : chromium.launchPersistentContext(profile, {
      ...usual, args: FLAGS, acceptDownloads: true, permissions: options.denied ? [] : ["microphone"],
    }));
const page = context.pages()[0];
const [requests, faults] = [[], []];
context.on("request", (request) => requests.push(request.url()));
context.on("requestfailed", (request) => faults.push(`${request.url()}: ${request.failure()?.errorText}`));
context.on("response", (response) => response.status() >= 400 && faults.push(`${response.url()}: ${response.status()}`));
page.on("console", (message) => {
  const ours = message.text().includes("willReadFrequently"); // it is the tests that read canvases
  if (["error", "warning"].includes(message.type()) && !ours) faults.push(message.text());
});
page.on("pageerror", (error) => faults.push(String(error)));
page.setDefaultTimeout(60_000);

const text = (id) => page.locator(`#${id}`).innerText();
const wait = (seconds) => page.waitForTimeout(1000 * seconds);
const finished = (name) =>
  page.waitForFunction((name) => {
    const status = document.getElementById("status");
    return status.classList.contains("error") || (status.innerText.startsWith(`${name} (`) && / took /.test(status.innerText));
  }, name);
const failed = () => page.waitForFunction(() => document.getElementById("status").classList.contains("error"));
const shoot = (name) => options.pictures && page.screenshot({ path: path.join(folder, name), fullPage: true });

// What axe finds against the rules for screen readers, keyboards and contrast.
async function violations() {
  await page.evaluate(fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  return page.evaluate(async () => {
    const found = (await window.axe.run()).violations;
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(", ")}`);
  });
}

async function setStrength(percent) {
  await page.locator("#strength").fill(String(percent));
}

async function save(name) {
  if (inFirefox) return saveBlob(name); // Playwright is not told of downloads there
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#download").click()]);
  await download.saveAs(path.join(folder, name));
  return download.suggestedFilename();
}

async function saveBlob(name) {
  const { file, base64 } = await page.evaluate(async () => {
    const [make, follow] = [URL.createObjectURL, HTMLAnchorElement.prototype.click];
    let [blob, file] = [];
    URL.createObjectURL = (given) => make.call(URL, (blob = given));
    HTMLAnchorElement.prototype.click = function () {
      file = this.download;
    };
    document.getElementById("download").click();
    [URL.createObjectURL, HTMLAnchorElement.prototype.click] = [make, follow];
    const reader = new FileReader();
    await new Promise((resolve) => ((reader.onload = resolve), reader.readAsDataURL(blob)));
    return { file, base64: reader.result.split(",")[1] };
  });
  fs.writeFileSync(path.join(folder, name), Buffer.from(base64, "base64"));
  return file;
}

async function drop(name, bytes) {
  const transfer = await page.evaluateHandle(
    ([name, bytes]) => {
      const transfer = new DataTransfer();
      if (bytes) transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "audio/wav" }));
      else transfer.setData("text/plain", name);
      return transfer;
    },
    [name, bytes && [...bytes]],
  );
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
}

// Mean difference of the two spectrograms, in the columns of the last `seconds`, in steps of colour.
const difference = (seconds) =>
  page.evaluate((seconds) => {
    const [first, second] = ["spectrogram-in", "spectrogram-out"].map((id) => {
      const canvas = document.getElementById(id);
      const width = Math.round((canvas.width * seconds) / 8);
      return canvas.getContext("2d").getImageData(canvas.width - width, 0, width, canvas.height).data;
    });
    return first.reduce((sum, value, n) => sum + Math.abs(value - second[n]), 0) / first.length;
  }, seconds);

const scenarios = {
  // A recording that is dropped, another one that is chosen; each is denoised and saved.
  async files() {
    await page.goto(options.unbuilt);
    await page.locator("#unbuilt").waitFor({ state: "visible" });
    faults.splice(0); // the script was not found
    await page.goto(address);
    const said = { before: await text("status"), unbuilt: await page.locator("#unbuilt").isVisible() };
    await drop("dropped.wav", fs.readFileSync(options.dropped));
    await finished("dropped.wav");
    said.dropped = await text("status");
    said.name = await save("dropped_out.wav");
    await setStrength(30);
    await save("dropped_30.wav");
    await setStrength(100);
    await page.locator("#file").setInputFiles({ name: "chosen.wav", mimeType: "audio/wav", buffer: fs.readFileSync(options.chosen) });
    await finished("chosen.wav");
    said.chosen = await text("status");
    await save("chosen_out.wav");
    await page.locator("#file").setInputFiles({ name: "words.txt", mimeType: "audio/wav", buffer: Buffer.from("no sound") });
    await failed();
    said.wrong = await text("status");
    await page.setViewportSize({ width: 360, height: 740 });
    said.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await shoot("phone.png");
    return said;
  },

  // The sample, played: the switch by key and by mouse, and the slider, seen in what is heard.
  async listening() {
    await page.goto(address);
    await page.locator("#sample").focus();
    await page.keyboard.press("Enter");
    await finished("sample.wav");
    const said = { differences: {} };
    await page.evaluate(() => {
      window.times = new Set();
      const time = document.getElementById("time");
      new MutationObserver(() => window.times.add(time.innerText)).observe(time, { childList: true });
    });
    await page.locator("#play").focus();
    await page.keyboard.press("Enter");
    for (const [name, change] of [
      ["denoised", async () => {}],
      ["original", () => page.keyboard.press("a")],
      ["denoised again", () => page.keyboard.press("b")],
      ["strength 0", () => setStrength(0)],
    ]) {
      await change();
      await page.locator("#seek").fill("1");
      await wait(1.6);
      said.differences[name] = await difference(1);
      await shoot(`listening ${name}.png`);
    }
    said.playing = await text("play");
    await page.locator("#play").click();
    said.paused = await text("play");
    said.time = await text("time");
    said.times = await page.evaluate(() => [...window.times]);
    said.violations = await violations();
    await page.emulateMedia({ colorScheme: "dark" });
    await shoot("dark.png");
    said.violations.push(...(await violations()));
    return said;
  },

  // The microphone, some seconds, with the switch; then what it recorded, denoised and as it was.
  async microphone() {
    await page.goto(address);
    await page.locator("#microphone").click();
    await page.waitForFunction(() => /ms/.test(document.getElementById("delay").innerText));
    await wait(2.5);
    const said = { differences: { denoised: await difference(1) } };
    await page.locator("input[value=original]").check({ force: true });
    await wait(1.8);
    said.differences.original = await difference(1);
    await shoot("microphone.png");
    Object.assign(said, { delay: await text("delay"), underruns: await text("underruns"), load: await text("load-value") });
    await page.locator("#microphone").click();
    await finished("microphone.wav");
    said.status = await text("status");
    await save("microphone_out.wav");
    await setStrength(0);
    await save("microphone_in.wav");
    return said;
  },

  // What the page says without a microphone, and without one of its files.
  async troubles() {
    await page.goto(address);
    await page.route("**/model_stream.onnx", (route) => route.fulfill({ status: 404, body: "" }));
    await page.locator("#sample").click();
    await failed();
    const said = { model: await text("status") };
    await page.unroute("**/model_stream.onnx");
    await page.route("**/*.wasm", async (route) => route.fulfill({ response: await route.fetch(), contentType: "text/plain" }));
    await page.locator("#sample").click();
    await finished("sample.wav"); // the next attempt loads it anew
    said.sample = await text("status");
    await page.unroute("**/*.wasm");
    faults.splice(0);
    await page.route("**/sample.wav", (route) => route.abort());
    await page.locator("#sample").click();
    await failed();
    said.offline = await text("status");
    faults.splice(0);
    await page.locator("#microphone").click();
    await failed();
    said.microphone = await text("status");
    said.canPlay = await page.locator("#play").isEnabled();
    return said;
  },

  // What comes late, cannot be read, or is unplugged.
  async surprises() {
    await page.addInitScript(() => {
      const read = Blob.prototype.arrayBuffer;
      const gate = new Promise((resolve) => (window.openGate = resolve));
      Blob.prototype.arrayBuffer = async function () {
        if (this.name.startsWith("slow")) await gate;
        if (this.name === "folder") throw new DOMException("not found", "NotFoundError");
        return read.call(this);
      };
      window.decoded = 0;
      const decode = OfflineAudioContext.prototype.decodeAudioData;
      OfflineAudioContext.prototype.decodeAudioData = function (...given) {
        return decode.apply(this, given).finally(() => (window.decoded += 1));
      };
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => (window.stream = await ask(wanted));
    });
    await page.goto(address);
    const wav = fs.readFileSync(options.dropped);
    await drop("slow.wav", wav);
    await drop("slow_words.txt", Buffer.from("no sound"));
    await page.locator("#sample").click();
    await finished("sample.wav");
    await page.evaluate(() => window.openGate());
    await page.waitForFunction(() => window.decoded === 3);
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve))); // what waits for it has its turn
    const said = { late: await text("status") };
    for (const [name, bytes] of [["folder", wav], ["empty.wav", []], ["a word", undefined]]) {
      await page.evaluate(() => document.getElementById("status").classList.remove("error"));
      await drop(name, bytes);
      await failed();
      said[name] = await text("status");
    }
    await page.locator("#microphone").click();
    await page.waitForFunction(() => /ms/.test(document.getElementById("delay").innerText));
    await drop("words.txt", Buffer.from("no sound"));
    await failed();
    said.running = await text("microphone");
    said.violations = await violations();
    await page.evaluate(() => {
      const [track] = window.stream.getTracks();
      track.stop();
      track.dispatchEvent(new Event("ended")); // what a browser does where it was unplugged
    });
    await page.waitForFunction(() => / took /.test(document.getElementById("status").innerText));
    said.unplugged = await text("status");
    said.stopped = await text("microphone");
    return said;
  },

  // A page of the tests that answers by window.result, a promise of an object; float arrays in it become files.
  async page() {
    await page.goto(address);
    await page.waitForFunction(() => window.result);
    const result = await page.evaluate(async (options) => {
      const result = await window.result(options);
      for (const [name, value] of Object.entries(result)) {
        if (!(value instanceof Float32Array)) continue;
        const bytes = new Uint8Array(value.buffer);
        let text = "";
        for (let n = 0; n < bytes.length; n += 4096) text += String.fromCharCode(...bytes.subarray(n, n + 4096));
        result[name] = { base64: btoa(text) };
      }
      return result;
    }, options);
    for (const [name, value] of Object.entries(result)) {
      if (!value?.base64) continue;
      fs.writeFileSync(path.join(folder, `${name}.f32`), Buffer.from(value.base64, "base64"));
      delete result[name];
    }
    return result;
  },
};

let said;
try {
  said = await scenarios[scenario]();
} catch (error) {
  said = { error: String(error), status: await text("status").catch(() => "") };
} finally {
  await context.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify({ ...said, requests, faults }));
