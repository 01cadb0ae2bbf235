/** Samples that wait: a first-in, first-out store that grows as it has to. */
export class Queue {
  #store = new Float32Array(1024);
  #first = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#first;
  }

  push(samples: Float32Array): void {
    if (this.#end + samples.length > this.#store.length) {
      const needed = this.length + samples.length;
      const store = needed > this.#store.length / 2 ? new Float32Array(2 * needed) : this.#store;
      store.set(this.#store.subarray(this.#first, this.#end)); // `set` copes with both being the same memory
      [this.#store, this.#end, this.#first] = [store, this.length, 0];
    }
    this.#store.set(samples, this.#end);
    this.#end += samples.length;
  }

  /** Takes out the first `count` samples, a new array. */
  shift(count: number): Float32Array {
    const samples = this.#store.slice(this.#first, this.#first + count);
    this.#first += samples.length;
    return samples;
  }

  clear(): void {
    this.#first = this.#end = 0;
  }
}

/** One piece of a signal, and the next one. */
export function joined(first: Float32Array, second: Float32Array): Float32Array {
  const whole = new Float32Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
