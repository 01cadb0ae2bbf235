/** A worklet that hands the page what goes through it, in pieces. */

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

class Tap extends AudioWorkletProcessor {
  process(inputs: Float32Array[][]): boolean {
    if (inputs[0].length) this.port.postMessage(inputs[0].map((column) => column.slice()));
    return true;
  }
}

registerProcessor("dtln-tap", Tap);
