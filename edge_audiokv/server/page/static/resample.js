// From one rate to another, a windowed sinc for each phase between the two grids. Browsers differ
// in whether a microphone may be heard at a rate of one's own, so it is heard at its own.

const ZEROS = 16;
// Where the passband ends, as a share of the narrower of the two.
const EDGE = 0.94;

function common(a, b) {
  return b === 0 ? a : common(b, a % b);
}

export class Resampler {
  #step;
  #phases;
  #half;
  #kernels;
  #held;
  // The next output, in phases after the first sample of what is held.
  #at;

  constructor(fromHz, toHz) {
    const shared = common(fromHz, toHz);
    this.#step = fromHz / shared;
    this.#phases = toHz / shared;
    const cutoff = Math.min(1, toHz / fromHz) * EDGE;
    this.#half = Math.ceil(ZEROS / cutoff);
    this.#kernels = Array.from({ length: this.#phases }, (_, phase) =>
      kernel(phase / this.#phases, this.#half, cutoff),
    );
    this.#held = new Float32Array(this.#half);
    this.#at = this.#half * this.#phases;
  }

  // Float samples, cut anywhere; those at the new rate that are complete.
  push(samples) {
    const held = new Float32Array(this.#held.length + samples.length);
    held.set(this.#held);
    held.set(samples, this.#held.length);
    const out = [];
    let first = Math.floor(this.#at / this.#phases) - this.#half;
    while (first + 2 * this.#half < held.length) {
      const weights = this.#kernels[this.#at % this.#phases];
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap += 1) sum += weights[tap] * held[first + tap];
      out.push(sum);
      this.#at += this.#step;
      first = Math.floor(this.#at / this.#phases) - this.#half;
    }
    const gone = Math.min(Math.max(first, 0), held.length);
    this.#held = held.slice(gone);
    this.#at -= gone * this.#phases;
    return Float32Array.from(out);
  }
}

function kernel(offset, half, cutoff) {
  const weights = new Float64Array(2 * half + 1);
  let sum = 0;
  for (let tap = 0; tap < weights.length; tap += 1) {
    const x = tap - half - offset;
    const angle = Math.PI * x * cutoff;
    const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
    const window = Math.abs(x) > half ? 0 : 0.5 + 0.5 * Math.cos((Math.PI * x) / half);
    weights[tap] = sinc * window;
    sum += weights[tap];
  }
  return weights.map((weight) => weight / sum);
}
