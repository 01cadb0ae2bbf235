/** Numbers of the network, and of the signal path around it. */

export const SAMPLE_RATE = 16000; // Hz, of the network
export const LOUDEST_SAMPLE = 1e6; // 120 dB above full scale: beyond it float32 arithmetic in the network may overflow
export const RAMP_SECONDS = 0.01; // in which a new strength is reached
export const RATES = [1000, 768000] as const; // Hz, lowest and highest
export const MOST_CHANNELS = 64;

/** What the network hears a stream at: as it is, or brought into the range of levels that it knows. */
export const LEVELS = ["raw", "auto"] as const;
export type Level = (typeof LEVELS)[number];

/** How much later than it was given a sample comes out at most: in samples, and in seconds. */
export interface Latency {
  samples: number;
  seconds: number;
}
