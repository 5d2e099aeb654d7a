// Where sound comes from: the microphone, or a file; 16-bit pieces of a tenth of a second.

import { RATE_HZ } from "./live.js";
import { Resampler } from "./resample.js";

const PIECE = RATE_HZ / 10;
// A file is decoded whole, in the memory of the browser.
const MOST_FILE_BYTES = 64 << 20;
const MOST_FILE_S = 3600;
// How far a file that is sent as fast as it can be heard may run ahead of what was heard.
const AHEAD_S = 2.5;

// Why there is no sound: `kind` is one of those in words.js.
export class NoSound extends Error {
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

// Gathers floats, and gives them on as pieces of PCM.
class Pieces {
  #piece = new Int16Array(PIECE);
  #n = 0;
  #send;

  constructor(send) {
    this.#send = send;
  }

  push(samples) {
    for (const sample of samples) {
      this.#piece[this.#n] = Math.max(-1, Math.min(1, sample)) * 32767;
      this.#n += 1;
      if (this.#n === PIECE) this.flush();
    }
  }

  flush() {
    if (this.#n) this.#send(this.#piece.slice(0, this.#n));
    this.#n = 0;
  }
}

// Loudness of some samples in dB below the loudest that there can be.
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  return 10 * Math.log10(Math.max(1e-9, sum / samples.length));
}

export class Microphone {
  #stream;
  #context;
  #tap;

  // Begins to call `send` with pieces; `lost` is called if the microphone goes away. Throws
  // NoSound.
  async start(send, lost) {
    if (!navigator.mediaDevices) throw new NoSound("insecure");
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false };
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    } catch (error) {
      throw new NoSound(error.name);
    }
    try {
      this.#context = new AudioContext();
      await this.#context.audioWorklet.addModule(new URL("tap.js", import.meta.url));
      await this.#context.resume();
      const resampler = new Resampler(this.#context.sampleRate, RATE_HZ);
      const pieces = new Pieces(send);
      this.#tap = new AudioWorkletNode(this.#context, "tap");
      this.#tap.port.onmessage = ({ data }) => pieces.push(resampler.push(data));
      // It puts out silence; what leads nowhere is not run by every browser.
      this.#context
        .createMediaStreamSource(this.#stream)
        .connect(this.#tap)
        .connect(this.#context.destination);
      for (const track of this.#stream.getTracks()) track.addEventListener("ended", lost);
    } catch (error) {
      this.stop();
      throw new NoSound(error.name);
    }
  }

  stop() {
    if (this.#tap) this.#tap.port.onmessage = null;
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#context?.close();
  }
}

export class SoundFile {
  #file;
  #samples = new Float32Array();
  #stopped = false;

  constructor(file) {
    this.#file = file;
  }

  // Throws NoSound.
  async open() {
    this.#samples = await decoded(this.#file);
  }

  // Calls `send` with all of it: at the pace of time, or, if `heard` is given, as fast as that
  // number of seconds follows.
  async play(send, heard = null) {
    const samples = this.#samples;
    const pieces = new Pieces(send);
    const begun = performance.now();
    for (let at = 0; at < samples.length && !this.#stopped; at += PIECE) {
      const seconds = at / RATE_HZ;
      // A page that is not seen wakes seldom, and then sends all that is due.
      while (
        !this.#stopped &&
        seconds > (heard ? heard() + AHEAD_S : (performance.now() - begun) / 1000)
      ) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      if (!this.#stopped) pieces.push(samples.subarray(at, at + PIECE));
    }
    if (!this.#stopped) pieces.flush();
  }

  stop() {
    this.#stopped = true;
  }
}

// The whole file as one channel of floats at RATE_HZ.
async function decoded(file) {
  if (file.size > MOST_FILE_BYTES) throw new NoSound("large");
  let buffer;
  try {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    buffer = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new NoSound("unreadable");
  }
  if (buffer.duration > MOST_FILE_S) throw new NoSound("large");
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let at = 0; at < mixed.length; at += 1) {
      mixed[at] += samples[at] / buffer.numberOfChannels;
    }
  }
  return mixed;
}
