"""`edge-audiokv soak`: hours of listening in a fraction of the time, with the books kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.options import engine_options, placement_option, settings_from
from edge_audiokv.cli.values import Number
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.listener import Listener, SessionListener
from edge_audiokv.eval.programme import Programme, noise_files
from edge_audiokv.eval.reminder import Reminder
from edge_audiokv.eval.served.listener import ServedListener
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.eval.soak import Soak, SoakReport, rehearse, write_report
from edge_audiokv.eval.wer import read_manifest
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT
from edge_audiokv.output.place import check_place
from edge_audiokv.units import format_clock

_TOLD_EVERY = 10  # simulated minutes


@click.command(cls=Command)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="JSONL of clips with their text.",
)
@click.option(
    "--hours",
    type=Number(0.02, 1000),
    default=8.0,
    show_default=True,
    help="Simulated time.",
)
@click.option(
    "--noise",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Sound files for the pauses; without it noise is synthesised.",
)
@click.option(
    "--speech-share",
    type=Number(0.05, 0.8),
    default=0.4,
    show_default=True,
    help="Share of the time that somebody speaks.",
)
@click.option("--seed", default=0, show_default=True, help="Another day.")
@click.option(
    "--context",
    type=click.Choice(["fresh", "rolling"]),
    default="fresh",
    show_default=True,
    help="Decode each segment alone, or with all before it in view.",
)
@placement_option
@click.option(
    "--through-server",
    is_flag=True,
    help="Let `serve` have the session, and send it the sound as a live client does.",
)
@click.option(
    "--codes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='Say the first clip of this manifest, such as "the code is nine one four", once near the'
    " beginning, and ask for it again and again.",
)
@click.option(
    "--ask-every",
    type=Number(0.1, 1000),
    default=10.0,
    show_default=True,
    help="Simulated minutes between two such questions.",
)
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON on stdout.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="JSON, anew every ten simulated minutes."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it, also after Ctrl-C.")
@engine_options
def soak(
    manifest: Path,
    hours: float,
    noise: Path | None,
    speech_share: float,
    seed: int,
    context: str,
    placement: str,
    through_server: bool,
    codes: Path | None,
    ask_every: float,
    as_json: bool,
    report: Path | None,
    plot: Path | None,
    **values: Any,
) -> None:
    """Let a session listen for hours of simulated time and watch memory, errors and pace.

    Speech comes from the manifest, with silence, noise and music between; the last hour repeats the
    first, so that their word error rates can be compared. Ctrl-C tells what there is. With
    --through-server memory is that of the server's process.

    \b
    Examples:
      edge-audiokv soak --manifest dev.jsonl --mem 600MB
      edge-audiokv soak --manifest dev.jsonl --hours 0.5 --noise esc10 --plot h.png
      edge-audiokv soak --manifest dev.jsonl --hours 0.17 --through-server
    """
    for place in filter(None, (report, plot)):
        check_place(place)
    engine = settings_from(values)
    if through_server and (context, placement) != ("fresh", DEFAULT_PLACEMENT):
        raise click.UsageError("--through-server goes with no --context and no --placement.")
    programme = Programme(
        read_manifest(manifest),
        duration_s=hours * 3600,
        noises=noise_files(noise) if noise is not None else (),
        speech_share=speech_share,
        seed=seed,
    )
    reminder = None
    if codes is not None:
        clip = read_manifest(codes)[0]
        reminder = Reminder(clip, every_s=60 * ask_every, duration_s=programme.duration_s)
    rehearse(programme)
    session = SessionSettings(context=context, placement=placement, report_interval_s=0)
    told = {
        "hours": hours,
        "mem": engine.mem,
        "context": context,
        "placement": placement,
        "speech_share": speech_share,
        "seed": seed,
        "noise": noise is not None,
        "through_server": through_server,
        "ask_every_s": 60 * ask_every if reminder is not None else None,
        "threads": engine.n_threads,
        "model": engine.model,
        "kv_policy": engine.kv_policy,
    }
    interrupted = False
    with _listener(engine, session, through_server) as listener:
        run = Soak(listener, programme, reminder=reminder, settings=told)
        try:
            result = run.run(lambda now: _on_minute(now, report))
        except KeyboardInterrupt:
            result, interrupted = run.report(), True
    if report is not None:
        write_report(result, report)
    click.echo(
        json.dumps(result.to_dict()) if as_json else "\n".join(result.lines()), file=sys.stdout
    )
    if plot is not None:
        from edge_audiokv.eval.plots.soak import plot_soak

        plot_soak(result, plot)
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def _listener(
    engine: EngineSettings, settings: SessionSettings, through_server: bool
) -> Iterator[Listener]:
    """Who hears it, loaded."""
    if not through_server:
        with Session(engine, settings) as session:
            yield SessionListener(session)
        return
    with (
        ServerProcess(engine) as server,
        closing(ServedListener(server, longest_s=settings.endpoint.max_segment_s)) as served,
    ):
        yield served


def _on_minute(now: SoakReport, report: Path | None) -> None:
    # The first minute shows that it can be written; later, what it takes to write it grows.
    if report is not None and (len(now.minutes) == 1 or len(now.minutes) % _TOLD_EVERY == 0):
        write_report(now, report)
    if len(now.minutes) % _TOLD_EVERY:
        return
    last = now.minutes[-1]
    left_s = now.wall_s * (now.planned_s / now.simulated_s - 1)
    voice.note(
        f"{format_clock(now.simulated_s)[:8]} of {format_clock(now.planned_s)[:8]}  "
        f"RSS {last.rss_bytes / 1e6:.1f} MB (no files {last.anonymous_bytes / 1e6:.1f}), ledger "
        f"{last.ledger_bytes / 1e6:.1f} MB, peak {now.peak_rss_bytes / 1e6:.1f} MB of "
        f"{now.cap_bytes / 1e6:.0f} MB  WER {now.wer:.1%}  {format_clock(left_s)[:8]} left"
    )
