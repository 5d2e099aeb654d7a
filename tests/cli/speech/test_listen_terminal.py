"""`listen` on a terminal: a question can be typed, and finals alone are left on the screen."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

from ..screen import Terminal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != "posix", reason="terminals"),
    pytest.mark.alone,
]
TALK = Path(__file__).parents[2] / "data" / "two_sentences.flac"
LISTEN = ["listen", "-t", "1", "--mem", "1GB"]


# Longer than a line of 80 columns, and broken between two words of it.
WHOLE_SUMMARY = re.compile(
    r"realtime factor \d+\.\d+, peak RSS \d+\.\d MiB of --mem 1GB \(953\.7 MiB\)$"
)


def joined(lines: list[str], columns: int) -> str:
    """The text of a screen whose lines were broken at `columns`."""
    return "".join(line.ljust(columns) if len(line) == columns else f"{line}\n" for line in lines)


def is_as_before(terminal: Terminal) -> bool:
    return (
        terminal.modes == terminal.modes_before
        and not terminal.screen.cursor.hidden
        and terminal.unread == 0
    )


def test_a_question_is_seen_while_it_is_typed_and_finals_alone_are_left() -> None:
    with Terminal(*LISTEN, TALK, "--realtime", columns=80) as terminal:
        terminal.until_words("loading smollm2-audio")
        # Before anything is heard, and on a screen that changes its size.
        terminal.type("where did she fönd".encode())
        terminal.until(lambda lines: lines[-1] == "> where did she fönd")
        terminal.type(b"\x15What was wet?\x7f\x7f\x7f\x7f")
        terminal.until_words("memory ")
        terminal.resize(40, 24)
        terminal.until(lambda lines: lines[-1] == "> What was" and "listening" in lines[-4])
        terminal.resize(200, 24)
        terminal.until_words("dB")
        # The words as they come, over the line.
        terminal.until(lambda lines: "train" in lines[-2])
        terminal.until_words("00:00:00 The train")
        terminal.type(b"late?")
        terminal.until(lambda lines: lines[-1] == "> What was late?")
        assert sum("listening" in line for line in terminal.lines) == 1
        terminal.type(b"\r")
        terminal.until_words("A: ")
        assert terminal.finish() == 0
        assert is_as_before(terminal)
        *said, summary = terminal.lines
    assert summary.startswith("2 segments in 00:00:05 (end of the source), realtime factor")
    assert [line[:9] for line in said if line[:3] == "00:"] == ["00:00:00 ", "00:00:03 "]
    (asked,) = [at for at, line in enumerate(said) if line == "Q: What was late?"]
    assert said[asked + 1].startswith("A: ") and len(said[asked + 1]) > 3
    assert len(said) == 4 and "train" in said[0] and "hour" in "".join(said)


def test_a_simple_terminal_gets_lines_and_takes_questions() -> None:
    with Terminal(*LISTEN, TALK, "--realtime", columns=80, TERM="dumb", NO_COLOR="1") as terminal:
        terminal.until(lambda lines: lines and lines[0] == "loading smollm2-audio ...")
        terminal.until_words("listening; type a question and press Enter at any time")
        terminal.until_words("00:00:00 The train")
        terminal.type(b"What was late?\n")
        terminal.until_words("A: ")
        # Meant for the shell, which comes later.
        terminal.type(b"\x03rm -r everything\n")
        assert terminal.finish() == 130
        assert is_as_before(terminal)
        lines = joined(terminal.lines, 80).splitlines()
        assert b"\x1b" not in terminal.raw
    # The driver of the terminal echoes what is typed; the rest is ours.
    ours = [line for line in lines if "rm -r" not in line and line != "What was late?"]
    assert [re.match(r"00:00:0\d ", line) is not None for line in ours[2:]].count(True) in (1, 2)
    assert "Q: What was late?" in ours and ours[-2].startswith("1 segment")
    assert "(interrupted), realtime factor" in ours[-2] and WHOLE_SUMMARY.search(" ".join(ours))


def test_results_and_panel_do_not_mix_on_one_terminal() -> None:
    with Terminal(
        *LISTEN, TALK, "--realtime", "-f", "jsonl", columns=200, NO_COLOR="1"
    ) as terminal:
        terminal.until_words('"type": "final"')
        terminal.type(b"half a quest")
        terminal.until(lambda lines: lines[-1] == "> half a quest")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.finish() == 143
        assert is_as_before(terminal)
        *results, summary = joined(terminal.lines, 200).splitlines()
        codes = [code for found in re.findall(rb"\x1b\[([\d;]*)m", terminal.raw)
                 for code in found.split(b";")]  # fmt: skip
    kinds = [json.loads(line)["type"] for line in results]
    assert "final" in kinds and kinds[-1] == "session-ended"
    assert "(terminated), realtime factor" in summary
    # Bold, dim and reversed may stay: they are no colours.
    assert set(codes) <= {b"0", b"1", b"2", b"3", b"7"}


def test_who_leaves_while_it_loads_finds_the_terminal_as_it_was() -> None:
    with Terminal(*LISTEN, TALK) as terminal:
        terminal.until(lambda lines: lines and lines[-1].startswith("> "))
        terminal.type(b"half a quest")
        terminal.until(lambda lines: lines[-1] == "> half a quest")
        terminal.type(b"\x03")
        assert terminal.finish() == 130
        assert is_as_before(terminal)
        assert terminal.lines == ["broken off while the model was loading: nothing was written."]


def test_a_window_that_is_closed_loses_nothing_that_was_said(tmp_path: Path) -> None:
    target = tmp_path / "said.srt"
    with Terminal(*LISTEN, TALK, "--realtime", "-o", target) as terminal:
        terminal.until_words("train")  # heard, and hardly final yet
        terminal.hang_up()
        assert terminal.process.wait(timeout=60) == 129
    assert "train" in target.read_text()


def test_a_document_that_was_broken_off_says_so() -> None:
    with Terminal(*LISTEN, TALK, "--realtime", "-f", "json", columns=200) as terminal:
        terminal.until_words("train")
        terminal.type(b"\x03")
        assert terminal.finish() == 130
        document, _, _ = joined(terminal.lines, 200).rstrip().rpartition("\n")
    assert json.loads(document)["complete"] is False


def test_a_document_is_whole_where_the_panel_was() -> None:
    with Terminal(*LISTEN, TALK, "-f", "json", columns=200) as terminal:
        assert terminal.finish() == 0
        assert is_as_before(terminal)
        document, _, summary = joined(terminal.lines, 200).rstrip().rpartition("\n")
    assert json.loads(document)["complete"]
    assert summary.startswith("2 segments")


def test_sound_comes_by_a_pipe_and_questions_from_the_terminal(tmp_path) -> None:
    """`arecord | edge-audiokv listen - > talk.txt`; nothing that is said early is lost."""
    sound, rate_hz = soundfile.read(TALK, dtype="int16")
    sound_in, ours = os.pipe()
    text = tmp_path / "talk.txt"
    text_out = os.open(text, os.O_WRONLY | os.O_CREAT)
    with Terminal(
        *LISTEN, "-", "--raw", f"s16le:{rate_hz}", columns=80, stdin=sound_in, stdout=text_out
    ) as terminal:
        for handle in (sound_in, text_out):
            os.close(handle)
        terminal.until_words("loading smollm2-audio")
        # More than a pipe holds, at once: a sender who must wait loses what it cannot keep.
        os.set_blocking(ours, False)
        data, sent = sound.tobytes(), 0
        assert len(data) > 2 * 65536

        def send(lines: list[str]) -> bool:
            nonlocal sent
            with suppress(BlockingIOError):
                sent += os.write(ours, data[sent:])
            return sent == len(data) and "loading" in "".join(lines)

        terminal.until(send)
        terminal.until_words("memory ")
        while b"morning" not in text.read_bytes():
            terminal.read()
            assert terminal.process.poll() is None
        terminal.type(b"What was late?\r")
        os.close(ours)
        assert terminal.finish() == 0
        assert is_as_before(terminal)
        lines = joined(terminal.lines, 80).splitlines()
    results = text.read_text().splitlines()
    assert "train" in results[0] and "Q: What was late?" in results
    assert sum(line[:2] == "A:" for line in results) == 1 and len(results) == 4
    assert len(lines) == 2 and lines[0].startswith("2 segments")
    assert WHOLE_SUMMARY.search(" ".join(lines))


def test_what_a_pipe_gives_to_the_same_screen_meets_no_panel() -> None:
    argv = [sys.executable, "-m", "edge_audiokv", *LISTEN, str(TALK), "-f", "jsonl"]
    with Terminal(argv=["/bin/bash", "-c", f"{shlex.join(argv)} | cat"], columns=200) as terminal:
        assert terminal.finish() == 0
        assert is_as_before(terminal) and b"\x1b" not in terminal.raw
        lines = joined(terminal.lines, 200).splitlines()
    records = [line for line in lines if line.startswith("{")]
    assert sum(json.loads(record)["type"] == "final" for record in records) == 2
    loading, asking, summary = (line for line in lines if line not in records)
    assert loading == "loading smollm2-audio ..."
    assert asking.startswith("listening; type a question")
    assert summary.startswith("2 segments")


def test_ask_shows_that_it_works_and_leaves_the_answer(spoken) -> None:
    with Terminal("ask", "-t", "1", spoken["garden"].path, "What did she find?") as terminal:
        terminal.until_words("loading smollm2-audio")
        terminal.until_words("listening")
        terminal.until_words("answering")
        assert terminal.finish() == 0
        assert terminal.modes == terminal.modes_before
        (answer,) = terminal.lines
    assert answer and "answering" not in answer


@pytest.mark.parametrize("arguments", [["--mem", "20MB"], ["--kv-policy", "luck"]])
def test_a_refusal_is_alone_on_the_screen(arguments: list[str]) -> None:
    with Terminal("listen", TALK, *arguments, columns=400) as terminal:
        assert terminal.finish() in (6, 9)
        assert is_as_before(terminal)
        text = joined(terminal.lines, 400)
    assert text.startswith("edge-audiokv: ") and text.count("\n") == 1
