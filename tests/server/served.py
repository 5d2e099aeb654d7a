"""`edge-audiokv serve` as a process, and clients of it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai

MEM = "600MB"
QUEUE = 1


class Served:
    """The process, and clients of it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.chmod(0o700)
        self.uds, self.wyoming, self.events = folder / "s", folder / "w", folder / "e"
        # A file: what stands in a pipe behind a line that was read is lost to `communicate`.
        self._told = folder / "stderr"
        with self._told.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_audiokv", "serve", "--port", "0",
                 "--uds", str(self.uds), "--wyoming", f"unix://{self.wyoming}",
                 "--events", str(self.events), "--mem", MEM, "-t", "1",
                 "--queue", str(QUEUE), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Until it serves; it says where."""
        while "\n" not in (told := self._told.read_text()) and self.process.poll() is None:
            time.sleep(0.005)
        line = told.partition("\n")[0]
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found is not None, told
        on_tcp = re.search(r"tcp://127\.0\.0\.1:(\d+)", line)
        self.wyoming_port = int(on_tcp[1]) if on_tcp else 0
        assert str(self.uds) in line and (on_tcp or f"unix://{self.wyoming}" in line)
        assert str(self.events) in line
        self.port = int(found[1])
        # Whoever reads that is let in at once.
        with socket.create_connection(("127.0.0.1", self.port), timeout=10):
            pass

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out, self._told.read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def openai(self, **options: Any) -> openai.OpenAI:
        settings = {"max_retries": 0, "timeout": 60, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **settings)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=10)

    def metric(self, name: str) -> float:
        found = re.search(rf"(?m)^edge_audiokv_{re.escape(name)} (\S+)$", self.get("/metrics").text)
        assert found is not None
        return float(found[1])

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return int(self.metric("rss_bytes"))
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        assert found is not None
        return int(found[1]) * 1024
