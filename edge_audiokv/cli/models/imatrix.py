"""`edge-audiokv imatrix`: gather what a quantiser should take care of, from speech."""

from __future__ import annotations

from pathlib import Path

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import counted
from edge_audiokv.output.place import check_place, writing


@click.command("imatrix", cls=Command)
@click.option(
    "-m",
    "--model",
    default="smollm2-audio",
    show_default=True,
    metavar="NAME|DIR",
    shell_complete=complete.models,
    help="The model that listens.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="MANIFEST",
    help='JSON lines with "path" and "text".',
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.gguf",
    help="The importance matrix to write.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Only the first so many clips.",
)
@click.option(
    "-t",
    "--threads",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Threads of the LLM.",
)
def command(model: str, data: Path, output: Path, limit: int, threads: int) -> None:
    """Gather an importance matrix from speech, for `edge-audiokv quantize --imatrix`.

    The model reads clips with their texts, and how strongly each input of each of its matrices is
    driven is summed up, by sound as by words. The quantiser then rounds with care where it counts,
    which matters below four bits. The file is llama.cpp's own format. Take other clips for it than
    those that files are compared on.

    \b
    Examples:
      edge-audiokv imatrix --data train.jsonl -o speech.gguf
      edge-audiokv imatrix --data train.jsonl --limit 300 -o speech.gguf
    """
    from edge_audiokv.calibrate.clips import read_entries
    from edge_audiokv.calibrate.imatrix import gather
    from edge_audiokv.calibrate.parts import load_parts

    n_clips = len(read_entries(data)[:limit])
    check_place(output)
    parts = load_parts(model)
    try:
        with counted(n_clips, "clips") as advance:
            found = gather(
                parts,
                data,
                limit=limit,
                threads=threads,
                progress=lambda done, total: advance(f"clip {done} of {total}"),
            )
    finally:
        parts.close()
    with writing(output):
        found.save(output)
    rows = max(int(counts.max()) for counts in found.counts.values())
    voice.note(f"Wrote {output}: {len(found.sums)} matrices, {n_clips} clips, {rows} rows")
