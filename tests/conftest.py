"""What tests of the whole path share: clips, the default model, and a way to run the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import edge_audiokv

# Commands run as processes find the package that is installed, not the checkout they start in.
os.environ["PYTHONSAFEPATH"] = "1"
# Commands are hung up on even if the tests run under nohup, which children would inherit: a handler
# that does nothing lets the tests live on and leaves a command its default.
signal.signal(signal.SIGHUP, lambda *_: None)
# Likewise for interrupts, which a shell lets its background jobs ignore.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of what is tested.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

DATA = Path(__file__).parent / "data"
# The folder that holds the package under test: site-packages, or a checkout with its own library.
_PACKAGE_ROOT = str(Path(edge_audiokv.__file__).resolve().parents[1])


@dataclass(frozen=True)
class Clip:
    """One spoken clip of tests/data: what is said in it, and how long it is."""

    path: Path
    text: str
    duration_s: float

    @property
    def samples(self) -> NDArray[np.float32]:
        """float32 [S] at 16 kHz."""
        samples: NDArray[np.float32] = soundfile.read(str(self.path), dtype="float32")[0]
        return samples


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that a refusal writes; fails if there is more, or anything on stdout."""
        assert self.out == "", self
        assert "Traceback" not in self.err, self
        (line,) = self.err.splitlines()
        return line


@pytest.fixture(scope="session")
def spoken() -> dict[str, Clip]:
    """The spoken clips, by id."""
    rows = [json.loads(line) for line in (DATA / "manifest.jsonl").read_text().splitlines()]
    return {row["id"]: Clip(DATA / row["path"], row["text"], row["duration_s"]) for row in rows}


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Data that is too large for the repository; tests that need it run only where it lies."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("EDGE_AUDIOKV_SHARED", default))
    if not (folder / "data").is_dir():
        pytest.skip("no shared data beside the checkout (EDGE_AUDIOKV_SHARED)")
    return folder


@pytest.fixture(scope="session")
def local_model() -> object:
    """The default model's files, fetched once into the cache: a `models.download.LocalModel`."""
    from edge_audiokv.models.catalog import resolve
    from edge_audiokv.models.download import ensure

    return ensure(resolve())


@pytest.fixture(scope="session")
def transcriber(local_model: object) -> Iterator[object]:
    """A loaded `Transcriber` of the default model that keeps every row."""
    from edge_audiokv.engine.settings import EngineSettings
    from edge_audiokv.engine.transcriber import Transcriber

    with Transcriber(EngineSettings(threads=1)) as loaded:
        yield loaded


class Command:
    """`edge-audiokv` in a process of its own, away from the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *args: object, **environment: str) -> subprocess.Popen[str]:
        return self._start("-m", "edge_audiokv", *args, **environment)

    def _start(self, *args: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *map(str, args)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": _PACKAGE_ROOT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, *args: object, **environment: str) -> Ran:
        return self.python("-m", "edge_audiokv", *args, **environment)

    def python(self, *args: object, **environment: str) -> Ran:
        """This interpreter with any arguments, in the same surroundings."""
        process = self._start(*args, **environment)
        out, err = process.communicate()
        return Ran(process.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


class Caller:
    """The same command inside this process: no start-up time, and warnings are errors."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *args: object) -> Ran:
        from edge_audiokv.cli.main import main

        self.capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(arg) for arg in args])
        out, err = self.capfd.readouterr()
        code = exit.value.code
        assert isinstance(code, int)
        return Ran(code, out, err)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capfd)
