"""`edge-audiokv serve` in a process of its own, and what it tells of itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any, Self

import psutil

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.lifetime import Loadable

_STOP_S, _ANSWER_S = 20.0, 30.0
_SERVING = re.compile(r"serving .* at http://127\.0\.0\.1:(\d+)")
# The option of `serve` for each setting; what a server decides itself is not among them.
_OPTIONS = {
    "model": "--model",
    "mem": "--mem",
    "kv_policy": "--kv-policy",
    "kv_share": "--kv-budget",
    "type_k": "--cache-type-k",
    "type_v": "--cache-type-v",
    "word_weight": "--word-weight",
    "branches": "--branches",
    "threads": "--threads",
    "provider": "--provider",
    "language": "--language",
}


class ServerProcess(Loadable):
    """`load()` starts it and waits until it serves; it outlives a Ctrl-C here, until `close()`."""

    def __init__(self, settings: EngineSettings, *arguments: str) -> None:
        self.settings = settings
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self._last_words: deque[str] = deque(maxlen=20)
        self._reader: threading.Thread | None = None
        self.port = 0

    def load(self) -> Self:
        """Raises EdgeAudioKVError with what the server said if it does not come up."""
        if self._process is not None:
            return self
        command = [sys.executable, "-P", "-m", "edge_audiokv", "serve", "--port", "0"]
        self._process = process = subprocess.Popen(
            [*command, "--no-page", *self._options(), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            self.port = self._port(process)
        except BaseException:
            self.close()
            raise
        self._reader = threading.Thread(target=self._read_on, args=(process,), daemon=True)
        self._reader.start()
        return self

    def _port(self, process: subprocess.Popen[str]) -> int:
        for line in process.stderr or ():
            self._last_words.append(line)
            if found := _SERVING.search(line):
                return int(found[1])
        raise self.gone()

    def _read_on(self, process: subprocess.Popen[str]) -> None:
        self._last_words.extend(process.stderr or ())

    def _options(self) -> list[str]:
        found: list[str] = []
        for name, option in _OPTIONS.items():
            value = getattr(self.settings, name)
            if value is not None:
                found.extend((option, str(value)))
        for name, value in self.settings.kv_options.items():
            found.extend(("--kv-option", f"{name}={value}"))
        if self.settings.hotwords:
            found.extend(("--hotwords", ",".join(self.settings.hotwords)))
        return found

    def close(self) -> None:
        """Let it end as after Ctrl-C."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join(_STOP_S)
        if process.stderr is not None:
            process.stderr.close()

    def gone(self) -> EdgeAudioKVError:
        """What to raise when it does not answer: with the last that it said."""
        said = " ".join(line.strip() for line in self._last_words if line.strip())
        return EdgeAudioKVError(
            f"The server ended: {said or 'it said nothing'}", cure="Start it by hand to see why."
        )

    # --- what it tells ----------------------------------------------------------------------------

    @property
    def realtime_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime?intent=transcription"

    def memory(self) -> dict[str, Any]:
        """/v1/edge/memory."""
        found: dict[str, Any] = json.loads(self._get("/v1/edge/memory"))
        return found

    def metrics(self) -> dict[str, float]:
        """/metrics, by name and labels."""
        lines = self._get("/metrics").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name.removeprefix("edge_audiokv_"): float(value) for name, value in pairs}

    def _get(self, path: str) -> str:
        # Whatever proxies the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=_ANSWER_S) as answer:
                text: str = answer.read().decode()
        except (OSError, urllib.error.URLError):
            raise self.gone() from None
        return text

    def kernel_bytes(self) -> tuple[int, int, int]:
        """Resident bytes by the kernel's count: now, those that no file backs, and the peak. What
        it does not say is taken from the first.
        """
        if self._process is None:
            raise self.gone()
        try:
            rss_bytes = int(psutil.Process(self._process.pid).memory_info().rss)
            status = Path(f"/proc/{self._process.pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
        except (psutil.Error, OSError):
            raise self.gone() from None
        told = dict(line.split(":", 1) for line in lines)
        anonymous, peak = (
            int(told[name].split()[0]) * 1024 if name in told else rss_bytes
            for name in ("RssAnon", "VmHWM")
        )
        return rss_bytes, anonymous, peak
