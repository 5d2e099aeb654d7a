"""Damage every text that comes from outside and use it as a person would.

    python scripts/fuzz_text.py --cases 5000 --seed 0

Each case takes one of: a model's `model.toml`, a head profile, a manifest, what is typed as options
or set in the environment, an address, and what a server answers. It damages that text and gives it
to the command line or to the part that reads it. A traceback is a fault, and so are an exception
that is not one of ours, a refusal of several lines, a hang, and more than 300 MB. Nothing is
fetched but from a server of this process. `--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import resource
import string
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

# Behind what is installed: only that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.kv.memory import rss_bytes
from scripts.fuzzing import options, run

MAX_BYTES = 300 << 20
MAX_LINE_CHARS = 6000
BODY = bytes(range(256)) * 4
NUMBERS = (
    *("0", "-0", "1", "-1", "1e400", "-1e400", "1e-300", "nan", "inf", "0x10", "1_000", "+5"),
    *("9" * 30, "9" * 5000, "0." + "0" * 400 + "1", "\u0663", "\uff14", "\u00bd", "\u00b2", "1e3"),
    *("", " ", "--5", "4294967296", "18446744073709551616", "1e15", "0.5", "2"),
)
UNITS = ("", "B", "GB", "iB", "i", "%", "%%", "KiB", "gIb", "\uff27\uff22", "PB", "e", " GiB", "\n")
TEXTS = (
    *("\0", "\x1b[31m", "\n", "\r\nX: y", "\udcff", "\ud800", "..", "../..", "/", "/dev/zero", "."),
    *("C:\\x", "a" * 300, "b" * 70_000, "\u202e", "{audio}", "{question}", "%s%n", "$(id)", ""),
    *("-r/x", "--log=/x", "~nobody-here/x", "[", "{", '"', "'", "\\", "<|im_end|>", "\U0001f600"),
    *("https://[::1", "https://a..b/x", "https://h\u00f6st/x", "http://127.0.0.1:99999/x", "//"),
    *("https://h:0/x", "https://u:p@h/x", "https://[fe80::1%25e]/x", "file:///etc/passwd"),
    *("https://h:\u0663/x", "ftp://h/x", "https://h/\u202e", "HTTPS://H/x", "https://%00/"),
    *("~", "https:", "data:,x"),
)  # fmt: skip
VALUES = (
    *("true", "[]", "{}", "[1, [2]]", "1979-05-27", "07:32:00", '""', "3", "-3", "1e400", "nan"),
    *("inf", "1e-300", "9223372036854775808", "0.1", "1e15", '"' + "x" * 2000 + '"', "[" * 300),
    *("9" * 5000, '"\\u0000"', '"\\u001b[31m"', '"../x"', '"/dev/zero"', "'", "1" * 17),
)


def main() -> None:
    given = options(__doc__ or "", cases=5000, timeout_s=30)
    with tempfile.TemporaryDirectory() as folder:
        run(given, lambda seeds: use_all(Path(folder), seeds))


def use_all(folder: Path, seeds: range) -> Iterator[int]:
    """Go through the cases of `seeds`; yields each seed before its case."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    desk = Desk(folder / str(os.getpid()))
    with desk.server():
        for case in desk.kinds:
            case(random.Random(0))  # all is imported before memory is looked at
        at_start = rss_bytes()
        for seed in seeds:
            yield seed
            draw = random.Random(seed)
            draw.choice(desk.kinds)(draw)
            taken = rss_bytes() - at_start
            if taken > MAX_BYTES:
                raise AssertionError(f"{taken >> 20} MB were taken")


def hostile(draw: random.Random) -> str:
    """A text that nobody meant to be read."""
    match draw.randrange(6):
        case 0 | 1:
            return draw.choice(NUMBERS) + draw.choice(UNITS)
        case 2:
            return draw.choice(NUMBERS)
        case 3:
            return draw.choice(TEXTS)
        case 4:
            return draw.choice(TEXTS) + draw.choice(TEXTS)
        case _:
            letters = string.printable + "\u0663\uff14\u00e9\u202e\U0001f600\x00\x1b"
            return "".join(draw.choices(letters, k=draw.randrange(1, 30)))


def typed(draw: random.Random) -> str:
    """The same as far as the system lets it be typed: no NUL, no half of a surrogate pair."""
    return re.sub("[\0\ud800-\udbff]", "", hostile(draw))[:60_000]


def damaged(draw: random.Random, data: bytes) -> bytes:
    """`data` with one to three changes."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(max(1, len(changed)))
        match draw.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + draw.choice((1, 2, 20, 200))]
            case 3:
                changed[at:at] = hostile(draw).encode("utf-8", "surrogatepass")
            case 4:
                end = min(len(changed), at + draw.randrange(1, 200))
                changed[at:at] = changed[at:end]
            case _:
                # A number that stands there becomes another one.
                found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(changed)))
                if found:
                    one = draw.choice(found)
                    changed[one.start() : one.end()] = draw.choice(NUMBERS).encode()
    return bytes(changed)


class Desk:
    """Where cases are tried. What it reads lies below `folder`."""

    def __init__(self, folder: Path) -> None:
        from tests.models.hostile import Manners

        self.folder = folder
        self.manners = Manners()
        self.url = ""
        folder.mkdir()
        self.model = folder / "model"
        self.toml = write_model(self.model)
        self.kinds: list[Callable[[random.Random], None]] = [
            self.entry,
            self.profile,
            self.manifest,
            self.option,
            self.setting,
            self.address,
            self.answer,
        ]
        for name in [name for name in os.environ if name.startswith("EDGE_AUDIOKV_")]:
            if name != "EDGE_AUDIOKV_LIB_DIR":
                del os.environ[name]
        os.environ["EDGE_AUDIOKV_CACHE"] = str(folder / "cache")
        os.environ["EDGE_AUDIOKV_OFFLINE"] = "1"

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        from edge_audiokv.models import http
        from tests.models.hostile import serve

        # As fast as a case may be: what these bound is a person's patience.
        http.TIMEOUT_S = http.PATIENCE_S = 0.3
        with serve(self.manners) as self.url:
            yield

    def entry(self, draw: random.Random) -> None:
        """A model folder from anybody: shown, pulled, made ready as far as nothing is loaded."""
        lines = self.toml.splitlines()
        for _ in range(draw.choice((1, 1, 2, 4))):
            at = draw.randrange(len(lines))
            name, equals, _ = lines[at].partition(" = ")
            match draw.randrange(6):
                case 0 | 1 if equals:
                    lines[at] = f"{name} = {draw.choice(VALUES)}"
                case 2 | 3 if equals:
                    lines[at] = f"{name} = {_quoted(hostile(draw))}"
                case 4 if len(lines) > 1:
                    del lines[at]
                case _:
                    lines.insert(at, draw.choice(lines))
        text = "\n".join(lines).encode("utf-8", "surrogatepass")
        path = self.model / "model.toml"
        path.write_bytes(damaged(draw, text) if draw.random() < 0.2 else text)
        self.ask("models", draw.choice(("show", "pull", "rm")), str(self.model), "--json")
        ours(lambda: _made_ready(self.model))

    def profile(self, draw: random.Random) -> None:
        """A head profile, for every policy that uses one."""
        from edge_audiokv.kv.policy import make_policy
        from edge_audiokv.kv.profile import load_profile
        from edge_audiokv.kv.shape import KVShape

        table = [[draw.random() for _ in range(3)] for _ in range(4)]
        data: dict[str, Any] = {
            "format": "edge-audiokv-head-profile",
            "version": 1,
            "model": "m",
            "model_hash": "0123456789abcdef",
            "n_layer": 4,
            "n_kv_head": 3,
            "samples": 5,
            "made_with": "edge-audiokv calibrate",
            "notes": {"speech": "good"},
            "tables": {"speech": table, "sound": table, "loss": table},
        }
        if draw.random() < 0.6:
            data[draw.choice(list(data))] = _json_value(draw)
        elif draw.random() < 0.5:
            data["tables"][draw.choice(("speech", "loss", "new"))] = _json_value(draw)
        text = json.dumps(data).encode()
        path = self.folder / "heads.json"
        path.write_bytes(damaged(draw, text) if draw.random() < 0.6 else text)

        def use() -> None:
            profile = load_profile(path)
            shape = KVShape(4, 3, 2, 32)
            profile.check(shape, "0123456789abcdef")
            policy = make_policy(
                draw.choice(("audiokv", "audiokv-edge", "headkv")), profile=profile
            )
            policy.budgets(600, shape, 100)

        ours(use)

    def manifest(self, draw: random.Random) -> None:
        """A manifest of clips or of repeats, up to the clips that it names."""
        from edge_audiokv.audio.files.file import read_all
        from edge_audiokv.calibrate.alignment import words_of
        from edge_audiokv.calibrate.clips import read_entries
        from edge_audiokv.eval.repeats.score import read_joins
        from edge_audiokv.eval.wer import read_manifest

        word = {"text": "a", "start_s": 0.1, "end_s": 0.4}
        clip: dict[str, Any] = {"path": "clip.wav", "text": "a b", "speaker": "x", "id": "one"}
        line = {**clip, "words": [word], "parts": [clip, clip, clip], "times": 1}
        lines = [dict(line) for _ in range(3)]
        for _ in range(draw.choice((0, 1, 2))):
            one = draw.choice(lines)
            one[draw.choice(list(line))] = _json_value(draw)
        text = "\n".join(json.dumps(each) for each in lines).encode()
        path = self.folder / "manifest.jsonl"
        path.write_bytes(damaged(draw, text) if draw.random() < 0.6 else text)
        ours(lambda: [read_all(each.path) for each in read_manifest(path)])
        ours(lambda: [read_all(each.clip.path) for each in read_joins(path)])
        ours(lambda: [words_of(entry) for entry in read_entries(path)])
        ours(lambda: [read_all(path.parent / each["path"]) for each in read_entries(path)])

    def option(self, draw: random.Random) -> None:
        """What is typed, or set for one run."""
        command = draw.choice(("transcribe", "listen", "ask", "policies", "models show"))
        names = _option_names(command)
        words = [*command.split()]
        if command in ("transcribe", "listen", "ask"):
            words.append("missing.wav" if draw.random() < 0.7 else typed(draw) or "x")
        if command == "ask":
            words.append(typed(draw) or "what?")
        if command in ("policies", "models show"):
            words.append(typed(draw))
        variables = {}
        for name in draw.choices(names, k=draw.choice((1, 1, 2))) if names else ():
            value = typed(draw)
            if draw.random() < 0.3:
                variable = name.strip("-").replace("-", "_").upper()
                variables[f"EDGE_AUDIOKV_{variable}"] = value
            else:
                words += [name, value]
        self.ask(*words, **variables)
        ours(lambda: _library_settings(typed(draw), typed(draw), typed(draw)))

    def setting(self, draw: random.Random) -> None:
        """Settings of the environment that no option has."""
        from edge_audiokv.cli.checks import environment
        from edge_audiokv.native import library

        name = draw.choice(
            ("CACHE", "OFFLINE", "LIB_DIR", "LIB_NAME", "MEM", typed(draw).replace("=", "") or "X")
        )
        with surroundings(**{f"EDGE_AUDIOKV_{name}": typed(draw).replace("/dev/zero", "")}):
            ours(lambda: environment({}, []))
            ours(library.directory)
            self.ask(*draw.choice((("models", "list"), ("models", "show"), ("policies",))))

    def address(self, draw: random.Random) -> None:
        """An address in an entry, which is only looked at."""
        from edge_audiokv.models import naming

        text = draw.choice(("", "https://", "http://127.0.0.1:", "https://host")) + hostile(draw)
        for fault_of in (
            naming.fault_of_url,
            naming.fault_of_path,
            naming.fault_of_package,
            naming.fault_of_file_name,
            naming.fault_of_text,
        ):
            fault = fault_of(text)
            assert fault is None or (isinstance(fault, str) and len(fault) < 300), fault

    def answer(self, draw: random.Random) -> None:
        """What a server answers when a model is fetched from it."""
        self.manners.answers = [_answer(draw, self.url) for _ in range(draw.choice((1, 2)))]
        self.manners.requests = 0
        self.manners.flood, self.manners.pause_s = b"", 0.0
        if draw.random() < 0.2:
            head, self.manners.flood = draw.choice(_FLOODS)
            self.manners.answers = [head.replace(b"URL", self.url.encode())]
            self.manners.pause_s = draw.choice((0.0, 0.0, 0.05))
        text = self.toml.replace('name = "llm.gguf"', f'name = "w.bin"\nurl = "{self.url}"')
        text = re.sub(
            r'(name = "w.bin"\nurl = .*\nsize_bytes = )\d+(\nsha256 = )"\w+"',
            rf'\g<1>{len(BODY)}\g<2>"{hashlib.sha256(BODY).hexdigest()}"',
            text,
        )
        (self.model / "model.toml").write_text(text, encoding="utf-8")
        with surroundings(EDGE_AUDIOKV_OFFLINE="0"):
            self.ask("models", "pull", str(self.model))
            ours(lambda: _fetch(self.url, self.folder / "case.part"))

    def ask(self, *words: str, **environment: str) -> None:
        """The command line, in this process; AssertionError for what may not be."""
        from edge_audiokv.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        code: object = None
        with surroundings(**environment):
            before = sys.stdin
            sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    main(list(words))
            except SystemExit as end:
                code = end.code
            finally:
                sys.stdin = before
        said = err.getvalue()
        assert code in range(12), f"{words!r} ends with {code!r}"
        assert "Traceback" not in said, said
        if code:
            last = said.rstrip("\n").splitlines()[-1]
            assert last.startswith("edge-audiokv: "), said
            assert len(last) < MAX_LINE_CHARS, f"{len(last)} characters: {last[:300]}"
            assert last.isprintable(), ascii(last)


def ours(use: Callable[[], object]) -> None:
    """Let `use` raise what is ours, in one line."""
    try:
        use()
    except EdgeAudioKVError as error:
        text = str(error)
        assert text.isprintable() and len(text) < MAX_LINE_CHARS, ascii(text)[:500]


@contextlib.contextmanager
def surroundings(**variables: str) -> Iterator[None]:
    """Environment variables for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_model(folder: Path) -> str:
    """A model of small files that nothing can hear; the text of its entry."""
    from tests.native import vocabularies

    folder.mkdir()
    vocabularies.write(folder / "llm.gguf", "llama-bpe")
    vocabularies.write(folder / "lora.gguf", "adapter")
    (folder / "encoder.onnx").write_bytes(b"encoder")
    (folder / "heads.json").write_text("{}")
    text = """name = "case"
summary = "A case"
languages = ["en"]
status = "ready"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
max_audio_s = 30.0
word_weight = 1.5
word_floor = 0.01
[llm]
architecture = "llama"
d_model = 64
context_length_tokens = 8192
[prompt]
template = "<|im_start|>user\\n{audio}\\n{question}<|im_end|>\\n"
end_of_turn = "<|im_end|>\\n"
question = "Transcribe the audio."
"""
    for role, name in (
        ("encoder", "encoder.onnx"),
        ("llm", "llm.gguf"),
        ("lora", "lora.gguf"),
        ("profile", "heads.json"),
    ):
        data = (folder / name).read_bytes()
        text += f'[[file]]\nrole = "{role}"\nname = "{name}"\nsize_bytes = {len(data)}\n'
        text += f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nlicence = "MIT"\n'
    return text


def _made_ready(folder: Path) -> None:
    """What an engine does with an entry before it loads anything."""
    from edge_audiokv.encoder.onnx import OnnxEncoder
    from edge_audiokv.engine.estimate import model_parts
    from edge_audiokv.engine.finals.language import check_language
    from edge_audiokv.engine.prompt import PromptTemplate
    from edge_audiokv.models import catalog, download

    entry = catalog.resolve(folder)
    check_language("en", entry)
    prompt = entry.prompt
    PromptTemplate.parse(prompt.template, end_of_turn=prompt.end_of_turn, question=prompt.question)
    OnnxEncoder(
        folder / "encoder.onnx",
        d_model=entry.d_model,
        sample_rate_hz=entry.sample_rate_hz,
        tokens_per_second=entry.tokens_per_second,
        max_window_s=entry.max_audio_s,
    )
    local = download.ensure(entry)
    model_parts(local, entry.max_audio_s)
    assert local.model_hash


def _library_settings(mem: str, share: str, number: str) -> None:
    """Settings as a program reads them from a file."""
    from edge_audiokv.engine.settings import EngineSettings
    from edge_audiokv.kv.policy import make_policy, policies

    settings: dict[str, Any] = {"mem": mem, "kv_share": share, "threads": number}
    for name, value in settings.items():
        ours(lambda name=name, value=value: EngineSettings(**{name: value}).cap_bytes)
    ours(lambda: EngineSettings(word_weight=number, branches=number))  # type: ignore[arg-type]
    name, kind = sorted(policies().items())[len(mem + share) % 24]
    for field in fields(kind):
        ours(lambda: make_policy(name, **{field.name: number}))  # noqa: B023


def _fetch(url: str, part: Path) -> None:
    from edge_audiokv.models.http import fetch_url

    part.unlink(missing_ok=True)
    fetch_url(url, part, len(BODY))


def _option_names(command: str) -> list[str]:
    """The long options of a command that take a value."""
    import click

    from edge_audiokv.cli.main import cli

    found: click.Command | None = cli
    for word in command.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(cli), word)
    assert found is not None
    return [
        max(param.opts, key=len)
        for param in found.params
        if isinstance(param, click.Option) and not param.is_flag and param.opts != ["--device"]
    ]


def _quoted(text: str) -> str:
    """`text` in TOML's quotes, most of the time rightly."""
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{escaped}"'


def _json_value(draw: random.Random) -> Any:
    return draw.choice(
        (
            *(None, True, 0, -1, 10**400, 1e300, -1e-300, float("nan"), float("inf"), "", "\ud800"),
            *("a\0b", "../../x", "/dev/zero", [], {}, [[]], [[1, 2], [3]], {"a": {"b": [1]}}),
            *(
                [[1e40] * 3] * 4,
                [["1"] * 3] * 4,
                [[True] * 3] * 4,
                [[None] * 3] * 4,
                [[-1] * 3] * 4,
            ),
            *("x" * 5000, [{"text": 3, "start_s": "a", "end_s": None}], [0] * 1000, 2**63, 1.5),
            *([{"text": "a", "start_s": 1e308, "end_s": -1e308}], "\x1b[31m", "\u0663", "\n"),
        )
    )


_FLOODS = (
    (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (b"", b"y"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"y"),
    (b"HTTP/1.1 404 No\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 302 Found\r\nLocation: URL\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 4096),
)


def _answer(draw: random.Random, url: str) -> bytes:
    """A whole answer, some of it wrong."""
    status = draw.choice(("200", "200", "206", "302", "301", "307", "404", "416", "500", "100"))
    if draw.random() < 0.1:
        status = typed(draw)
    length = draw.choice((str(len(BODY)), str(len(BODY)), "", hostile(draw)))
    place = draw.choice((f"bytes 0-{len(BODY) - 1}/{len(BODY)}", hostile(draw)))
    headers = [
        ("Content-Length", length),
        ("Content-Range", place),
        ("Location", draw.choice((url, hostile(draw), url + hostile(draw)))),
        ("Transfer-Encoding", draw.choice(("", "", "", "chunked", hostile(draw)))),
        ("Content-Encoding", draw.choice(("", "gzip"))),
        (draw.choice(("X", "Retry-After", "Set-Cookie", hostile(draw))), hostile(draw)),
    ]
    draw.shuffle(headers)
    lines = [f"HTTP/1.{draw.choice('0119')} {status} {draw.choice(('OK', '', hostile(draw)))}"]
    lines += [f"{name}: {value}" for name, value in headers if value and draw.random() < 0.7]
    data = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass") + BODY
    return damaged(draw, data) if draw.random() < 0.3 else data


if __name__ == "__main__":
    main()
