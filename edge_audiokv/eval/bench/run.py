"""A whole run: the machine's facts, the LLM in this process, then sound in one of its own."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from edge_audiokv.engine.cache import policy_of
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.bench.alone import Tell, alone
from edge_audiokv.eval.bench.caches import Setting
from edge_audiokv.eval.bench.limit import copy_bandwidth
from edge_audiokv.eval.bench.llm import run_llm
from edge_audiokv.eval.bench.plan import BATCH_TOKENS, Plan
from edge_audiokv.eval.bench.rows import Facts, Row
from edge_audiokv.eval.bench.speech import Spoken, measure_speech, n_speech_steps
from edge_audiokv.models.download import Progress
from edge_audiokv.native.library import describe_library
from edge_audiokv.native.stock import has_unpatched


@dataclass
class Run:
    """What is known so far; `rows` and `notes` grow while `measure` goes on."""

    facts: Facts
    rows: list[Row]
    notes: list[str]


class Bench:
    """One run. The constructor finds and fetches the model's files, and measures the bandwidth.

    Raises ModelError, DownloadError, or PolicyError for an unknown policy.
    """

    def __init__(
        self,
        plan: Plan,
        settings: EngineSettings,
        paths: Sequence[Path],
        *,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.paths = settings, tuple(paths)
        load_average = psutil.getloadavg()[0]
        runtime = Runtime(settings, progress=progress)
        local = runtime.find()
        self._policy = policy_of(runtime)
        # A policy that keeps everything has nothing to be cut to.
        self.plan = plan if self._policy.evicts else replace(plan, shares=(1.0,))
        self._path, lora = local.llm_paths
        self.has_stock = has_unpatched()
        self.run = Run(
            Facts(
                build_commit=describe_library(),
                cpu_info=_processor(),
                model_filename=self._path.name,
                model_type=f"{local.gguf.architecture} {local.quantisation or ''}".strip(),
                model_size=self._path.stat().st_size,
                n_threads=settings.n_threads,
                n_batch=BATCH_TOKENS,
                n_ubatch=BATCH_TOKENS,
                kv_policy=settings.kv_policy,
                test_time=datetime.now(UTC).isoformat(timespec="seconds"),
                load_average=load_average,
                bandwidth_bytes_per_s=copy_bandwidth(settings.n_threads, now=plan.now),
            ),
            [],
            [],
        )
        notes = self.run.notes
        if not self.has_stock:
            notes.append(
                "Stock llama.cpp is left out: build with EDGE_AUDIOKV_BUILD_STOCK=ON to compare."
            )
        if self.plan != plan:
            notes.append(f"Policy {settings.kv_policy} evicts nothing: all rows were kept.")
        if plan.cpu_time:
            notes.append("Times are CPU time: what they would be if nobody else used the machine.")
        if lora is not None:
            notes.append("The LLM was measured without its adapter, which stock cannot share.")
        if not self.paths:
            notes.append(
                "Reader and latency are left out, and the encoder heard noise: name a recording."
            )

    @property
    def n_steps(self) -> int:
        """How often `measure` tells that something is done."""
        return self.plan.n_steps(stock=self.has_stock) + n_speech_steps(
            self.plan.repetitions, self.paths
        )

    def measure(self, tell: Tell) -> None:
        """All of it; what is known stays in `run` if it is broken off."""
        run, settings = self.run, self.settings
        setting = Setting(self._path, "f16", "f16", settings.n_threads)
        spoken: Spoken = alone(measure_speech, settings, self.paths, self.plan, tell=tell)
        run.rows += spoken.rows
        if self.paths and not spoken.reads:
            run.notes.append("The model has no reader, or --mem leaves no room for it.")
        for row in run_llm(
            self.plan,
            setting,
            self._policy,
            run.facts.bandwidth_bytes_per_s,
            stock=self.has_stock,
            tell=tell,
        ):
            run.rows.append(row)


def _processor() -> str:
    """The processor's name where Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
