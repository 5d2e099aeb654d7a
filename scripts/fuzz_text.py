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
from scripts import hostile_texts
from scripts.fuzzing import options, run
from scripts.hostile_texts import BODY, FLOODS, VALUES, damaged, hostile, json_value, quoted, typed

MAX_BYTES = 300 << 20
MAX_LINE_CHARS = 6000


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


class Desk:
    """Where cases are tried. What it reads lies below `folder`."""

    def __init__(self, folder: Path) -> None:
        from tests.models.hostile import Manners
        from tests.models.small import write_model

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
                    lines[at] = f"{name} = {quoted(hostile(draw))}"
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
            data[draw.choice(list(data))] = json_value(draw)
        elif draw.random() < 0.5:
            data["tables"][draw.choice(("speech", "loss", "new"))] = json_value(draw)
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
            one[draw.choice(list(line))] = json_value(draw)
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
            name = "missing.wav" if draw.random() < 0.7 else typed(draw) or "x"
            # What lies in this machine's folders is no text from outside, and takes for ever.
            words.append(str(self.folder) if os.path.isdir(name) else name)
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
        from edge_audiokv.cli.machine.checks import environment
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
        self.manners.answers = [
            hostile_texts.answer(draw, self.url) for _ in range(draw.choice((1, 2)))
        ]
        self.manners.requests = 0
        self.manners.flood, self.manners.pause_s = b"", 0.0
        if draw.random() < 0.2:
            head, self.manners.flood = draw.choice(FLOODS)
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


def _made_ready(folder: Path) -> None:
    """What an engine does with an entry before it loads anything."""
    from edge_audiokv.encoder.onnx import OnnxEncoder
    from edge_audiokv.engine.finals.language import check_language
    from edge_audiokv.engine.memory.estimate import model_parts
    from edge_audiokv.engine.prompt import PromptTemplate
    from edge_audiokv.models import catalog, download

    entry = catalog.resolve(folder)
    check_language("en", entry)
    PromptTemplate.of(entry.prompt)
    OnnxEncoder(
        folder / "encoder.onnx",
        d_model=entry.d_model,
        rule=entry.rule,
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


if __name__ == "__main__":
    main()
