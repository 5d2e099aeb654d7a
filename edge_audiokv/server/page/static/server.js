// The server of this page: its addresses, and the key, which stays in the memory of this page.

// Why it did not give what was asked: "unreachable", "key", or "refused" with a message.
export class Fault extends Error {
  constructor(kind, message = kind) {
    super(message);
    this.kind = kind;
  }
}

const WITHIN_MS = 8000;

export class Server {
  #base = new URL("..", import.meta.url);
  #key = "";

  set key(text) {
    this.#key = text;
  }

  // Where the memory is, as /v1/edge/memory tells it.
  async memory() {
    const headers = this.#key ? { authorization: `Bearer ${this.#key}` } : {};
    let answer;
    let document;
    try {
      answer = await fetch(new URL("v1/edge/memory", this.#base), {
        headers,
        cache: "no-store",
        signal: AbortSignal.timeout(WITHIN_MS),
      });
      document = await answer.json();
    } catch {
      throw new Fault("unreachable");
    }
    if (answer.ok) return document;
    throw new Fault(answer.status === 401 ? "key" : "refused", document.error?.message);
  }

  // A WebSocket for live sound. Browsers give it no headers: the key goes where OpenAI's own
  // clients put it, percent-encoded, because not every character may stand there.
  socket() {
    const address = new URL("v1/realtime?intent=transcription", this.#base);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const protocols = ["realtime"];
    if (this.#key) {
      const encoded = encodeURIComponent(this.#key).replace(
        /[()]/g,
        (mark) => `%${mark.charCodeAt(0).toString(16)}`,
      );
      protocols.push(`openai-insecure-api-key.${encoded}`);
    }
    return new WebSocket(address, protocols);
  }
}
