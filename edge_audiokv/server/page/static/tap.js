// Runs beside the audio device: hands on what it hears, mixed to one channel, in blocks.

const BLOCK = 2048;

class Tap extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK);
  #n = 0;

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let at = 0; at < length; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.#block[this.#n] = sum / channels.length;
      this.#n += 1;
      if (this.#n === BLOCK) {
        this.port.postMessage(this.#block.slice());
        this.#n = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
