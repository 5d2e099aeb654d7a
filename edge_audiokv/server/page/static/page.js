// The page: buttons, what is said, questions, and a look at the memory every second.

import { HeadsPicture } from "./heads.js";
import { Live } from "./live.js";
import { MemoryGraph } from "./memory.js";
import { Server } from "./server.js";
import { Microphone, NoSound, SoundFile, loudness } from "./sound.js";
import * as words from "./words.js";

const MOST_SAID = 1000;
const MOST_ANSWERS = 100;
const LOOK_MS = 1000;
const LOOK_FAST_MS = 400;
const LOOK_UNSEEN_MS = 5000;
// A page that was just loaded anew finds its old session still ending.
const TRIES = 4;
const BETWEEN_TRIES_MS = 700;

const at = (id) => document.getElementById(id);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const server = new Server();
const graph = new MemoryGraph(at("memory-graph"), at("memory-text"), at("parts").tBodies[0]);
const picture = new HeadsPicture(
  at("heads-picture"),
  at("heads-text"),
  at("rows").tBodies[0],
  at("heads").querySelector("details"),
);

let live = null;
// What is being heard, with a stop(); null while nothing is.
let source = null;
// It waits for the server, or for a person to permit the microphone.
let opening = false;
let memory = null;
let answer = null;

// --- what a person is told -----------------------------------------------------------------------

const notices = new Map();

// One line from each place; an empty text takes it back.
function notice(place, text) {
  if ((notices.get(place) ?? "") === text) return;
  if (text) notices.set(place, text);
  else notices.delete(place);
  at("notices").replaceChildren(...[...notices.values()].map((line) => paragraph(line)));
}

function paragraph(text, kind = "") {
  const element = document.createElement("p");
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function show() {
  at("listen").textContent = source ? "Stop" : "Listen";
  at("file").disabled = source !== null;
  at("forget").disabled = live === null;
  at("level").hidden = source === null;
  let state = live ? "Not listening; ask on." : "Not listening.";
  if (source) state = opening ? "One moment." : "Listening.";
  if (at("state").textContent !== state) at("state").textContent = state;
}

// --- what is said --------------------------------------------------------------------------------

// The utterance that is open, and its text so far.
let open = null;
// When each utterance began that was not told to its end yet.
const starts = new Map();

function scrolled() {
  const box = at("said-box");
  box.scrollTop = box.scrollHeight;
}

const hears = {
  started(id, seconds) {
    open = { id, text: "" };
    starts.set(id, seconds);
    at("open").textContent = "…";
    scrolled();
  },
  grown(id, delta) {
    if (open?.id !== id) return;
    open.text += delta;
    at("open").textContent = `${open.text} …`;
    scrolled();
  },
  said(id, text) {
    if (open?.id === id) {
      open = null;
      at("open").textContent = "";
    }
    const seconds = starts.get(id) ?? 0;
    starts.delete(id);
    if (!text) return;
    const item = document.createElement("li");
    const time = document.createElement("span");
    time.className = "time";
    time.textContent = words.clock(seconds);
    item.append(time, text);
    at("said").append(item);
    while (at("said").children.length > MOST_SAID) at("said").firstChild.remove();
    scrolled();
  },
  answering(delta) {
    if (answer) answer.textContent += delta;
  },
  answered(text, fault) {
    if (answer) {
      answer.textContent = fault || text || "It has no answer.";
      answer.parentElement.removeAttribute("aria-busy");
    }
    answer = null;
    at("send").disabled = false;
  },
  refused(message) {
    notice("live", message);
    if (answer) hears.answered("", message);
  },
};

// --- the session ---------------------------------------------------------------------------------

// A live session, begun if there is none; null, and told, if it cannot be had.
async function session() {
  if (live?.isOpen) return live;
  for (let left = TRIES; left > 0; left -= 1) {
    const made = new Live(server.socket(), {
      ...hears,
      closed: (code, reason) => over(made, code, reason),
    });
    if (await made.begun()) {
      live = made;
      notice("live", "");
      return live;
    }
    await look();
    if (!memory?.jobs || left === 1) break;
    await wait(BETWEEN_TRIES_MS);
  }
  // Whatever else may be the reason was told by that look.
  if (memory && !memory.fault) notice("live", words.notLetIn(memory.jobs));
  return null;
}

function over(ended, code, reason) {
  if (ended !== live) return;
  live = null;
  stopSource();
  hears.said(open?.id, "");
  if (answer) hears.answered("", "The session ended before there was an answer.");
  notice("live", words.ended(code, reason));
  show();
}

// Ends the session; nothing is to be told of that.
function leave() {
  const ending = live;
  live = null;
  ending?.close();
}

function send(samples) {
  if (!live) return;
  if (live.sentSeconds === 0) history.replaceState({ heard: true }, "");
  live.send(samples);
  at("level").value = loudness(samples);
  if (live.lostSeconds) notice("sound", words.dropped(live.lostSeconds));
}

function stopSource() {
  source?.stop();
  source = null;
}

// Hears `next` until it ends or is stopped: `open` makes it ready, `work` does the hearing.
async function hear(next, open, work) {
  source = next;
  opening = true;
  for (const place of ["sound", "page", "live", "ask"]) notice(place, "");
  show();
  try {
    await open();
    // Without sound nobody else should have to wait for the model.
    const begun = source === next && (await session());
    if (source === next) {
      opening = false;
      if (begun) {
        show();
        await work();
      } else {
        stopSource();
      }
    } else if (live?.sentSeconds === 0) {
      leave();
    }
  } catch (error) {
    if (!(error instanceof NoSound)) throw error;
    if (source === next) {
      notice("sound", words.soundFault(error.kind));
      stopSource();
    }
  }
  show();
}

function stop() {
  stopSource();
  live?.endTurn();
  show();
}

function listen() {
  if (source) {
    stop();
    return;
  }
  const microphone = new Microphone();
  const lost = () => {
    if (source !== microphone) return;
    stop();
    notice("sound", words.soundFault("lost"));
  };
  const start = async () => {
    await microphone.start(send, lost);
    // Stopped while the browser asked for permission.
    if (source !== microphone) microphone.stop();
  };
  hear(microphone, start, () => {});
}

function play(chosen) {
  const file = new SoundFile(chosen);
  const work = async () => {
    const before = live.sentSeconds;
    const heard = () => (memory?.time_s ?? 0) - before;
    await file.play(send, at("fast").checked ? heard : null);
    if (source === file) stop();
  };
  hear(file, () => file.open(), work);
}

function ask(question) {
  if (!live?.isOpen) {
    notice("ask", words.NOTHING_YET);
    return false;
  }
  notice("ask", "");
  const item = document.createElement("li");
  item.setAttribute("aria-busy", "true");
  answer = paragraph("", "answer");
  item.append(paragraph(question, "question"), answer);
  at("answers").prepend(item);
  while (at("answers").children.length > MOST_ANSWERS) at("answers").lastChild.remove();
  at("send").disabled = true;
  live.ask(question);
  return true;
}

// --- the memory ----------------------------------------------------------------------------------

let looking = null;

// Ask the server once; who asks meanwhile waits for the same answer.
function look() {
  looking ??= looked().finally(() => {
    looking = null;
  });
  return looking;
}

async function looked() {
  try {
    memory = await server.memory();
    at("model").textContent = memory.model;
    at("key").hidden = true;
    notice("server", memory.fault ? words.faulty(memory.fault) : "");
    graph.add(memory);
    picture.show(memory.heads);
    at("clock").textContent = live ? `${words.clock(memory.time_s)} heard` : "";
  } catch (fault) {
    memory = null;
    if (fault.kind === "key") {
      at("key").hidden = false;
      notice("server", keyed ? words.WRONG_KEY : "");
    } else {
      notice("server", fault.kind === "unreachable" ? words.UNREACHABLE : fault.message);
    }
  }
}

let keyed = false;

async function watch() {
  for (;;) {
    if (at("key").hidden) await look();
    const fast = source instanceof SoundFile && at("fast").checked;
    await wait(document.hidden ? LOOK_UNSEEN_MS : fast ? LOOK_FAST_MS : LOOK_MS);
  }
}

// --- hands ---------------------------------------------------------------------------------------

at("listen").addEventListener("click", listen);
at("file").addEventListener("change", () => {
  const [chosen] = at("file").files;
  if (chosen) play(chosen);
  // So that the same file can be chosen again.
  at("file").value = "";
});
at("forget").addEventListener("click", () => {
  stopSource();
  leave();
  open = null;
  starts.clear();
  answer = null;
  at("send").disabled = false;
  at("open").textContent = "";
  at("said").replaceChildren();
  at("answers").replaceChildren();
  show();
});
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (question && !at("send").disabled && ask(question)) at("question").value = "";
});
at("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  server.key = at("key-text").value.trim();
  at("key-text").value = "";
  keyed = true;
  await look();
});
// So that the server knows at once; a page that is gone says nothing more.
addEventListener("pagehide", () => live?.close());

// What the browser keeps of a page that is loaded anew.
if (history.state?.heard) {
  history.replaceState(null, "");
  notice("page", words.RELOADED);
}
show();
watch();
