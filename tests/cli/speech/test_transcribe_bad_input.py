"""Sound that is none, places that cannot be written, options that mean nothing: one line each."""

from __future__ import annotations

import os
import pty
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.cli.main import COMMANDS

pytestmark = pytest.mark.integration
FULL = Path("/dev/full")


def wav(
    n_bytes: int,
    *,
    data: bytes | None = None,
    rate_hz: int = 16000,
    channels: int = 1,
    block_bytes: int = 2,
    bits: int = 16,
    kind: int = 1,
) -> bytes:
    """A WAV file with just this header, true or not."""
    data = b"\1\2" * (n_bytes // 2) if data is None else data
    byte_rate = rate_hz * block_bytes & 0xFFFFFFFF
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, byte_rate, block_bytes, bits)
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", n_bytes)
    return b"RIFF" + struct.pack("<I", len(head) + n_bytes) + head + data


UNUSABLE = {
    "empty.wav": (b"", "empty"),
    "four bytes.wav": (b"RIFF", "not audio"),
    "header only.wav": (wav(0), "no samples"),
    "header promises.wav": (wav(320_000, data=b""), "damaged"),
    "no channels.wav": (wav(3200, channels=0), "not audio"),
    "too many channels.wav": (wav(3200, channels=65535), "not audio"),
    "rate 0.wav": (wav(3200, rate_hz=0), "not audio"),
    "rate 4 GHz.wav": (wav(3200, rate_hz=0xFFFFFFFF), "not audio"),
    "rate 1 MHz.wav": (wav(3200, rate_hz=1_000_000), "1000000 Hz"),
    "rate 1 Hz.wav": (wav(3200, rate_hz=1), "1 Hz"),
    "no bits.wav": (wav(3200, bits=0), "not audio"),
    "unknown codec.wav": (wav(3200, kind=0x7777), "not audio"),
    "random.wav": (np.random.default_rng(0).bytes(50_000), "not audio"),
    "words.txt": (b"hello\n", "not audio"),
    "cut ogg.ogg": (b"OggS\0\2" + bytes(200), "not audio"),
    "nothing but flac magic.flac": (b"fLaC", "not audio"),
}


@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize("name", list(UNUSABLE))
def test_a_file_that_is_no_sound(call, tmp_path, name) -> None:
    data, says = UNUSABLE[name]
    path = tmp_path / name
    path.write_bytes(data)
    # Told before a model is looked for, let alone loaded: this one does not exist.
    model = "smollm2-audio" if name == "header promises.wav" else "no such model"
    ran = call("transcribe", path, "--model", model, "-o", tmp_path / "out.json", "-f", "json")
    assert ran.code == 3
    assert says in ran.complaint and str(path) in ran.complaint
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_paths_that_hold_no_file(call, tmp_path) -> None:
    (tmp_path / "rights").write_bytes(wav(3200))
    os.mkfifo(tmp_path / "pipe")
    for name, says in {
        tmp_path / "nothing.wav": "no file",
        tmp_path: "directory",
        tmp_path / "pipe": "not a regular file",
        "/dev/null": "not a regular file",
        tmp_path / "a" / "b.wav": "no file",
        tmp_path / ("x" * 5000): "cannot be opened",
    }.items():
        ran = call("transcribe", name, "--model", "no such model")
        assert ran.code == 3
        assert says in ran.complaint


@pytest.mark.parametrize("command", ["transcribe", "listen", "ask"])
def test_a_wrong_path_is_told_before_a_model_is_loaded(call, tmp_path, command) -> None:
    question = ["Who?"] if command == "ask" else []
    ran = call(command, tmp_path / "none.wav", *question, "--model", "no such model")
    assert ran.code == 3
    assert "no file" in ran.complaint


@pytest.mark.parametrize(
    ("command", "option"), [("transcribe", "-o"), ("listen", "-o"), ("listen", "--save-audio")]
)
def test_a_recording_is_never_overwritten_by_its_own_result(
    call, tmp_path, command, option
) -> None:
    path, link = tmp_path / "talk.wav", tmp_path / "link.wav"
    path.write_bytes(wav(3200))
    link.symlink_to(path)
    before = path.read_bytes()
    for target in (path, link):
        ran = call(command, path, option, target, "--model", "no such model")
        assert ran.code == 10
        assert "destroy" in ran.complaint
    assert path.read_bytes() == before


def test_every_file_is_looked_at_before_the_first_is_heard(call, spoken, tmp_path) -> None:
    ran = call("transcribe", spoken["garden"].path, tmp_path / "nothing.wav")
    assert ran.code == 3
    assert "nothing.wav" in ran.complaint


@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(call, tmp_path, value) -> None:
    path = tmp_path / "broken.wav"
    soundfile.write(str(path), np.full(32000, value, np.float32), 16000, subtype="FLOAT")
    ran = call("transcribe", path, "-f", "json", "-o", tmp_path / "out.json")
    assert ran.code == 3
    assert "NaN or Inf" in ran.complaint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize(
    "kind", ["one sample", "three hours of silence", "loudest", "constant", "noise"]
)
def test_sound_without_speech_gives_no_text_and_no_fault(call, tmp_path, kind) -> None:
    rng = np.random.default_rng(0)
    samples = {
        "one sample": np.full(1, 0.5),
        "three hours of silence": np.zeros(3 * 3600 * 2000, np.int8),
        "loudest": np.sign(np.sin(np.arange(48000) / 20)) * 1e30,
        "constant": np.ones(48000),
        "noise": rng.normal(0, 0.1, 48000),
    }[kind]
    path = tmp_path / "sound.wav"
    if samples.dtype == np.int8:
        soundfile.write(str(path), samples.astype(np.int16), 2000, subtype="PCM_U8")
    else:
        soundfile.write(str(path), samples, 16000, subtype="FLOAT")
    ran = call("transcribe", path)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith(f"warning: no speech was found in {path}.\n")
    assert all(line.startswith("warning: ") for line in ran.err.splitlines())


@pytest.mark.usefixtures("local_model")
def test_a_few_broken_samples_and_a_cut_file_are_heard_with_a_warning(
    call, spoken, tmp_path
) -> None:
    samples = spoken["garden"].samples.copy()
    samples[100:110] = np.nan
    path = tmp_path / "some.wav"
    soundfile.write(str(path), samples, 16000, subtype="FLOAT")
    whole = call("transcribe", path)
    assert whole.code == 0 and "garden" in whole.out
    assert whole.err.startswith("warning: ") and whole.err.count("\n") == 1
    path.write_bytes(path.read_bytes()[: len(samples) * 2])
    half = call("transcribe", path)
    assert half.code == 0 and half.out
    assert "cut short" in half.err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--mem", "lots"], 2, "write 4GB, 2GiB, 512MB or 50%"),
        (["--mem", "0"], 2, "zero"),
        (["--mem", "-1GB"], 2, "not a size"),
        (["--mem", "0%"], 2, "above 0 and at most 100 %"),
        (["--kv-budget", "0"], 2, "above 0 and at most 100 %"),
        (["--kv-budget", "150%"], 2, "above 0 and at most 100 %"),
        (["--kv-budget", "nan"], 2, "above 0 and at most 100 %"),
        (["--kv-option", "alpha"], 2, "NAME=VALUE"),
        (["--format", "xml"], 2, "'text', 'json', 'jsonl', 'srt', 'vtt'"),
        (["--threads", "0"], 2, "1<=x<=64"),
        (["--threads", "many"], 2, "integer"),
        (["--max-segment-s", "nan"], 2, "not a number"),
        (["--max-segment-s", "31"], 2, "2<=x<=30"),
        (["-ctk", "q5_0"], 2, "q8_0"),
        (["--word-weight", "nan"], 2, "not a number"),
        (["--branches", "-1"], 2, "0<=x<=64"),
        (["--mem", "1" * 400], 2, "write a size"),
        (["--frobnicate"], 2, "frobnicate"),
        (["--model", "no such model"], 4, "Known: "),
        (["--model", "x" * 5000], 4, "No model is called"),
        (["--model", "~nobody/there"], 4, "No model is called"),
        (["--provider", "cuda"], 11, "Use one of: cpu"),
        (["--kv-policy", "forget-it-all"], 9, "audiokv-edge"),
        (["--kv-option", "x=1"], 9, "no option 'x'"),
        (["--kv-option", "n_sinks=some"], 9, "n_sinks"),
        (["--kv-option", "n_sinks=-4"], 9, "n_sinks"),
        (["--kv-option", "alpha=nan"], 9, "alpha"),
        (["--kv-option", "n_sinks=2147483648"], 9, "n_sinks"),
        (["--mem", "1KB"], 6, "Use --mem "),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("local_model")
def test_options_that_cannot_be(call, spoken, tmp_path, options, code, says) -> None:
    out = tmp_path / "out.json"
    ran = call("transcribe", spoken["garden"].path, "-f", "json", "-o", out, *options)
    assert ran.code == code, ran
    assert says in ran.complaint
    assert ran.complaint.startswith("edge-audiokv: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("local_model")
def test_the_smallest_budget_still_speaks(call, spoken) -> None:
    ran = call("transcribe", spoken["garden"].path, "--kv-budget", "0.001%")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize("name", ["text", "jsonl", "json"])
def test_a_full_disk(call, command, spoken, tmp_path, name) -> None:
    if not FULL.is_char_device():
        pytest.skip("this system has no /dev/full")
    link = tmp_path / "out"
    link.symlink_to(FULL)
    ran = call("transcribe", spoken["garden"].path, "-f", name, "-o", link)
    assert ran.code == 10
    assert "No space left" in ran.complaint
    assert link.is_symlink() and FULL.is_char_device()
    assert list(tmp_path.iterdir()) == [link]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("no/such/folder/out", "mkdir -p"),
        (".", "directory"),
        ("x" * 5000, "too long"),
        ("x" * 5000 + "/out", "too long"),
        ("loop", "symbolic links"),
    ],
)
def test_places_that_cannot_be_written_are_told_before_work(
    call, spoken, tmp_path, place, says
) -> None:
    # The model does not exist: were it looked for first, the code would be 4.
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    target = tmp_path / place
    for name in ("text", "json"):
        ran = call("transcribe", spoken["garden"].path, "-m", "none", "-o", target, "-f", name)
        assert ran.code == 10
        assert says in ran.complaint


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("EDGE_AUDIOKV_TRANSCRIBE_MEM", "banana", 2),
        ("EDGE_AUDIOKV_TRANSCRIBE_THREADS", "x", 2),
        ("EDGE_AUDIOKV_LIB_DIR", "/nonexistent", 8),
    ],
)
@pytest.mark.usefixtures("local_model")
def test_an_environment_of_nonsense(command, spoken, name, value, code) -> None:
    ran = command("transcribe", spoken["garden"].path, **{name: value})
    assert ran.code == code
    assert name in ran.complaint or code == 2


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_help_of_every_command(call, name) -> None:
    ran = call(*filter(None, [name, "--help"]))
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: edge-audiokv" in ran.out


def test_a_command_that_is_none_names_those_that_are(call) -> None:
    ran = call("transcribble")
    assert ran.code == 2
    assert "transcribe" in ran.complaint


@pytest.mark.parametrize("raw", [[], ["--raw", "s16le:16000"]])
@pytest.mark.parametrize("words", [["transcribe", "-"], ["listen", "-"], ["ask", "-", "What?"]])
def test_no_sound_is_waited_for_from_a_keyboard(call, monkeypatch, words, raw) -> None:
    """It is told before a model is loaded."""
    if words[0] == "ask" and raw:
        raw = ["--json"]
    theirs, ours = pty.openpty()
    with open(theirs, "rb"), open(ours) as keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
        ran = call(*words, *raw, "--model", "smollm2-audio", "--kv-policy", "none such")
    assert ran.code == 3
    assert "Standard input is a terminal" in ran.complaint and "< talk.flac" in ran.complaint


def test_standard_input_is_named_once(call) -> None:
    ran = call("transcribe", "-", "-", "--model", "no such model")
    assert ran.code == 2 and "name - once" in ran.complaint
