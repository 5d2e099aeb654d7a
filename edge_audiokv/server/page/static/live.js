// One live session: sound goes out, what is said and answered comes in.

const TRANSCRIPTION = "conversation.item.input_audio_transcription.";
// Sound that waits in the browser for a server that reads no more: two minutes of it.
const MOST_WAITING_BYTES = 8 << 20;

export const RATE_HZ = 24000;

export class Live {
  #socket;
  #on;
  #begun;
  sentSeconds = 0;
  lostSeconds = 0;

  // `on` has started(id, seconds), grown(id, text), said(id, text), answering(text),
  // answered(text, fault), refused(message) and closed(code, reason). A session that never began
  // is told as closed, too.
  constructor(socket, on) {
    this.#socket = socket;
    this.#on = on;
    this.#begun = new Promise((resolve) => {
      socket.addEventListener("message", (message) => {
        const event = JSON.parse(message.data);
        if (event.type === "session.created") resolve(true);
        this.#hear(event);
      });
      socket.addEventListener("close", (event) => {
        resolve(false);
        on.closed(event.code, event.reason);
      });
    });
  }

  // Whether the server let it in.
  begun() {
    return this.#begun;
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  // 16-bit mono samples at RATE_HZ.
  send(samples) {
    if (!this.isOpen) return;
    const seconds = samples.length / RATE_HZ;
    if (this.#socket.bufferedAmount > MOST_WAITING_BYTES) {
      this.lostSeconds += seconds;
      return;
    }
    const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    this.#tell("input_audio_buffer.append", { audio: btoa(String.fromCharCode(...bytes)) });
    this.sentSeconds += seconds;
  }

  // What is open ends here.
  endTurn() {
    this.#tell("input_audio_buffer.commit");
  }

  ask(question) {
    this.#tell("response.create", { response: { instructions: question } });
  }

  close() {
    this.#socket.close(1000);
  }

  #tell(type, fields = {}) {
    if (this.isOpen) this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  #hear(event) {
    const on = this.#on;
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        on.started(event.item_id, event.audio_start_ms / 1000);
        break;
      case `${TRANSCRIPTION}delta`:
        on.grown(event.item_id, event.delta);
        break;
      case `${TRANSCRIPTION}completed`:
        on.said(event.item_id, event.transcript);
        break;
      case "response.output_text.delta":
        on.answering(event.delta);
        break;
      case "response.done": {
        const [item] = event.response.output;
        const text = item?.content.map((part) => part.text).join("") ?? "";
        on.answered(text, event.response.status_details?.error?.message ?? "");
        break;
      }
      case "error":
        // Nothing was open when a turn was to end: that is as it should be.
        if (event.error.code !== "input_audio_buffer_commit_empty") {
          on.refused(event.error.message);
        }
        break;
    }
  }
}
