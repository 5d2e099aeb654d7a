"""`edge-audiokv eval probe`: what an encoder's rows tell about sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import counted, json_option, seed_option, show
from edge_audiokv.cli.values import Number
from edge_audiokv.encoder.probe import check_in_child
from edge_audiokv.eval.probe.inner import Graph, InnerEncoder, pool
from edge_audiokv.eval.probe.measure import Score, averages, score, to_dict
from edge_audiokv.eval.probe.tasks import Task, read_task
from edge_audiokv.models import catalog, download
from edge_audiokv.models.catalog import DEFAULT_MODEL
from edge_audiokv.models.token_rule import TokenRule
from edge_audiokv.native.threads import usable_cores


@click.command("probe", short_help="What an encoder's rows tell about sound.", cls=Command)
@click.option(
    "--data",
    "tasks",
    multiple=True,
    required=True,
    metavar="FILE:LABEL[:GROUP]",
    help="JSON lines of clips and the field to be told; clips of one GROUP stay together."
    " Repeatable.",
)
@click.option(
    "--encoder",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="MODEL|ONNX",
    help="A model's name or folder, or an ONNX file.",
)
@click.option(
    "--tensor",
    "tensors",
    multiple=True,
    metavar="NAME",
    help="Probe this tensor of the graph, too; repeatable.",
)
@click.option(
    "--tokens-per-second",
    type=Number(0.1, 1000),
    default=12.5,
    show_default=True,
    help="Rows that an ONNX file gives; a model says it itself.",
)
@click.option("--limit", type=click.IntRange(min=5), help="Only so many clips of every label.")
@seed_option
@click.option("-t", "--threads", type=click.IntRange(1, 256), help="Threads; default: all cores.")
@json_option
def probe_command(
    tasks: tuple[str, ...],
    encoder: str,
    tensors: tuple[str, ...],
    tokens_per_second: float,
    limit: int | None,
    seed: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """What an encoder's rows tell about sound: noises, speakers, orders.

    A clip's rows are averaged over time; 10 nearest neighbours (kNN) and a perceptron of one hidden
    layer (MLP) then name its label, in five folds. "chance" is the share of the commonest label.
    The average weighs tasks by their clips, as UniWhisper and X-ARES do.

    \b
    Examples:
      edge-audiokv eval probe --data sounds/manifest.jsonl:label
      edge-audiokv eval probe --data clips.jsonl:speaker --data orders.jsonl:drink
      edge-audiokv eval probe --data clips.jsonl:speaker:recording \\
        --encoder whisper.onnx --tensor /encoder/norm/Add
    """
    found = [read_task(text, limit=limit) for text in tasks]
    clips = list(dict.fromkeys(clip for task in found for clip in task.clips))
    with _open(encoder, tensors, tokens_per_second, threads or usable_cores()) as probed:
        with counted(len(clips), "clips") as advance:
            rows = pool(probed, clips, advance)
        place = {clip: index for index, clip in enumerate(clips)}
    scores: list[Score] = []
    for task in found:
        mine = [place[clip] for clip in task.clips]
        scores += score(task, {name: each[mine] for name, each in rows.items()}, seed=seed)
    show(to_dict(scores, encoder=encoder), probe_lines(found, scores), as_json=as_json)


def _open(name: str, tensors: tuple[str, ...], rate: float, threads: int) -> InnerEncoder:
    """The encoder that is meant, tried in a process of its own first."""
    path = Path(name).expanduser()
    if path.suffix == ".onnx" and path.is_file():
        rule, d_model = TokenRule(tokens_per_second=rate), Graph(path).width
        check_in_child(path, d_model=d_model, rule=rule)
        return InnerEncoder(path, d_model=d_model, rule=rule, tensors=tensors, threads=threads)
    local = download.ensure(catalog.resolve(name))
    entry = local.entry
    check_in_child(local.encoder_path, d_model=entry.d_model, rule=entry.rule)
    return InnerEncoder(
        local.encoder_path,
        d_model=entry.d_model,
        rule=entry.rule,
        tensors=tensors,
        max_window_s=entry.max_audio_s,
        threads=threads,
    )


def probe_lines(tasks: Sequence[Task], scores: Sequence[Score]) -> list[str]:
    """The scores for people, one a line."""
    lines = [
        f"{'task':<32}{'clips':>6}{'labels':>7}{'chance':>8}"
        f"{'kNN':>7}{'95 %':>9}{'MLP':>7}{'95 %':>9}  features"
    ]
    for item in scores:
        knn = f"{item.knn_low:.0%}-{item.knn_high:.0%}"
        mlp = f"{item.mlp_low:.0%}-{item.mlp_high:.0%}"
        lines.append(
            f"{item.task:<32}{item.clips:>6}{item.classes:>7}{item.chance:>8.1%}"
            f"{item.knn:>7.1%}{knn:>9}{item.mlp:>7.1%}{mlp:>9}  {item.features} ({item.width})"
        )
    if len(tasks) > 1:
        for mean in averages(scores):
            lines.append(
                f"{'weighted average':<32}{sum(len(task.clips) for task in tasks):>6}{'':>7}"
                f"{mean.chance:>8.1%}{mean.knn:>7.1%}{'':>9}{mean.mlp:>7.1%}{'':>9}"
                f"  {mean.features}"
            )
    for task in tasks:
        if task.n_left_out:
            lines.append(f"{task.name}: {task.n_left_out} clips without a usable label left out")
    return lines
