"""Compare eviction policies at equal bytes: loss, word errors, loops, recall and bytes held.

Every measured cell is kept at once in OUTPUT/<suite>.jsonl, so that the comparison can be broken
off, taken up, or made in pieces (--minutes); time left is shown. The table and the plot of what is
there are written after each piece, or with --only-report.

    python scripts/compare_policies.py --manifest dev/manifest.jsonl --speaker libri_27 -o out/
"""

from __future__ import annotations

from pathlib import Path

import click

from edge_audiokv.eval.compared import (
    bytes_text,
    losses,
    recall_report,
    refused,
    words_report,
)
from edge_audiokv.eval.comparison import Inputs, Progress, compare, read_results
from edge_audiokv.eval.plots.panels import plot
from edge_audiokv.eval.suites import Suite, narrowed, suites
from edge_audiokv.files import write_whole
from edge_audiokv.kv.policy import policies


@click.command(help=__doc__)
@click.option("--model", default="smollm2-audio", show_default=True)
@click.option("--manifest", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--speaker", "speakers", multiple=True, help="Only these; may be repeated.")
@click.option("--suites", "chosen", default="all", show_default=True, help="Comma-separated.")
@click.option("--policies", "names", default="", help="Only these, comma-separated.")
@click.option("--variant", "variants", multiple=True, help='As in "audiokv-edge window=32".')
@click.option("--shares", default="", help="Only these, comma-separated, such as 0.4,0.2.")
@click.option("--clips", type=int, help="At most so many clips of each suite.")
@click.option("--profile", type=click.Path(path_type=Path, exists=True), help="Head profile.")
@click.option("--minutes", default=1e6, help="Stop after about so long.")
@click.option("--jobs", default=2, show_default=True, help="Processes, one thread each.")
@click.option("--only-report", is_flag=True, help="Measure nothing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(
    model: str,
    manifest: Path,
    speakers: tuple[str, ...],
    chosen: str,
    names: str,
    variants: tuple[str, ...],
    shares: str,
    clips: int | None,
    profile: Path | None,
    minutes: float,
    jobs: int,
    only_report: bool,
    output: Path,
) -> None:
    every = suites(tuple(policies()))
    known = {suite.name: suite for suite in every}
    wanted = list(known) if chosen == "all" else chosen.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise click.BadParameter(f"{unknown[0]}: choose from {', '.join(known)}.")
    picked = [
        narrowed(
            known[name],
            names=tuple(filter(None, names.split(","))),
            shares=tuple(float(share) for share in filter(None, shares.split(","))),
            clips=clips,
            variants=variants,
        )
        for name in wanted
    ]
    if not only_report:
        inputs = Inputs(model, manifest, speakers, profile, output)
        whole = compare(inputs, picked, jobs=jobs, budget_s=60 * minutes, report=tell)
        click.echo("nothing is left" if whole else "run again to go on")
    write_report(output, every)


def tell(progress: Progress) -> None:
    left = "" if progress.left_s is None else f", about {progress.left_s / 60:.1f} min left"
    cells = f"{progress.done}/{progress.total} cells"
    click.echo(f"{progress.suite} {progress.clip}: {cells}{left}")


def write_report(output: Path, every: tuple[Suite, ...]) -> None:
    texts, panels = [], []
    for suite in every:
        rows = read_results(output, suite)
        if suite.kind == "recall":
            texts.append(recall_report(suite, rows) or "")
        else:
            found = (words_report if suite.kind == "words" else losses)(suite, rows)
            if found is not None:
                texts.append(found[0])
                panels.append(found[1])
        texts += [f"Refused: {line}\n" for line in refused(rows)]
        if suite.name == "loss-25s" and rows:
            texts.append(bytes_text(suite, rows))
    text = "\n".join(filter(None, texts))
    write_whole(output / "table.md", text)
    if panels:
        plot(panels, output / "policies.png")
    click.echo(text)


if __name__ == "__main__":
    main()
