// What a person is told when something is not as it should be, and what to do about it.

const SOUND = {
  insecure:
    "Browsers give the microphone to pages of this machine and over https alone. " +
    "Open this page at http://127.0.0.1 there, or put TLS in front of the server. " +
    "A file can be heard all the same.",
  NotAllowedError:
    "This page may not use the microphone. Permit it beside the page's address and press Listen " +
    "again, or choose a file.",
  NotFoundError: "There is no microphone. Plug one in and press Listen again, or choose a file.",
  NotReadableError:
    "The microphone cannot be opened; another program may have it. Close that and press Listen " +
    "again, or choose a file.",
  lost: "The microphone went away. Plug it in and press Listen; what was heard is still known.",
  large:
    "This file is too large for a browser. Choose one of at most 64 MiB and an hour, or run: " +
    "edge-audiokv transcribe FILE",
  unreadable:
    "This browser cannot read the file. Choose WAV, FLAC, MP3 or Ogg, or run: " +
    "edge-audiokv transcribe FILE",
};

export function soundFault(kind) {
  return SOUND[kind] ?? `There is no sound (${kind}). Press Listen again, or choose a file.`;
}

export const UNREACHABLE =
  "The server does not answer. Start it: edge-audiokv serve. This page goes on by itself then.";
export const WRONG_KEY = "That is not this server's key. Look for it where the server was started.";
export const NOTHING_YET = "There is nothing to ask about yet. Press Listen, or choose a file.";
export const RELOADED =
  "The page was loaded anew, and what was heard before is forgotten. Press Listen to begin again.";

export function faulty(why) {
  return `The server can hear nobody now: ${why}. If that lasts, start it again.`;
}

// Why a session did not begin; `jobs` are those that the server has.
export function notLetIn(jobs) {
  if (!jobs) return "The server did not let this page in. Press Listen again.";
  return (
    "The server is busy with another page or program, and it hears one at a time. " +
    "End that one, or press Listen again when it is done."
  );
}

// Why a session that had begun is over.
export function ended(code, reason) {
  if (code === 1000) return "";
  const lost = "What was heard stays written here, but can no longer be asked about.";
  if (code === 1001) return `The server has stopped. ${lost} Start it again: edge-audiokv serve.`;
  let what = `The session ended: ${reason || code}.`;
  if (code === 1008) what = `The server let this page go: ${reason}.`;
  if (code === 1006) what = "The connection broke.";
  return `${what} ${lost} Press Listen to begin again.`;
}

export function dropped(seconds) {
  return (
    `The server is slower than speech: ${seconds.toFixed(0)} s of sound were dropped. ` +
    "Pause for a while, or start it with more threads (-t)."
  );
}

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const minutes = String(Math.floor(whole / 60)).padStart(2, "0");
  return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
}
