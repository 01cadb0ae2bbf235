/** A spectrogram that scrolls. */

const HIGHEST = 8000; // Hz
const SECONDS = 8; // across the canvas
const [SOFTEST, LOUDEST] = [-105, -35]; // dB, of an AnalyserNode's bins
const STOPS = [[0, 0, 4], [50, 10, 94], [120, 28, 109], [187, 55, 84], [237, 105, 37], [252, 180, 25], [252, 255, 164]];
const COLOURS = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[below].map((colour, n) => Math.round(colour + (place - below) * (STOPS[below + 1][n] - colour)));
});

/** Draws what an analyser hears into a canvas, newest at the right; where motion is unwanted, from left to right. */
export class Spectrogram {
  readonly #canvas: HTMLCanvasElement;
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  #analyser: AnalyserNode | undefined;
  #column = 0; // of the drawing that stands still
  #owed = 0; // part of a column

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    canvas.width = 640;
    canvas.height = 128;
  }

  /** Hears this node from now on. */
  listen(node: AudioNode): void {
    this.#analyser = new AnalyserNode(node.context, { fftSize: node.context.sampleRate > 24000 ? 2048 : 512 });
    this.#analyser.smoothingTimeConstant = 0;
    node.connect(this.#analyser);
  }

  /** Draws the next columns, `seconds` after the last ones. */
  draw(seconds: number): void {
    this.#owed += (seconds * this.#canvas.width) / SECONDS;
    const count = Math.min(Math.floor(this.#owed), this.#canvas.width);
    const context = this.#canvas.getContext("2d");
    if (!this.#analyser || !context || !count) return;
    this.#owed = Math.max(0, this.#owed - count) % 1;
    const { width, height } = this.#canvas;
    const levels = new Float32Array(this.#analyser.frequencyBinCount);
    this.#analyser.getFloatFrequencyData(levels);
    const perRow = (HIGHEST / (this.#analyser.context.sampleRate / 2)) * (levels.length / height);
    const image = context.createImageData(count, height);
    for (let row = 0; row < height; row++) {
      const first = Math.min(levels.length - 1, Math.floor(row * perRow));
      let level = -Infinity; // the loudest of the bins of a row
      for (let bin = first; bin < Math.max(first + 1, (row + 1) * perRow) && bin < levels.length; bin++) {
        level = Math.max(level, levels[bin]);
      }
      const share = Math.max(0, Math.min(1, (level - SOFTEST) / (LOUDEST - SOFTEST)));
      const [red, green, blue] = COLOURS[Math.round(255 * share)];
      for (let column = 0; column < count; column++) {
        image.data.set([red, green, blue, 255], 4 * ((height - 1 - row) * count + column));
      }
    }
    if (this.#still.matches) {
      context.putImageData(image, this.#column, 0);
      this.#column = (this.#column + count) % width;
    } else {
      context.drawImage(this.#canvas, -count, 0);
      context.putImageData(image, width - count, 0);
    }
  }
}
