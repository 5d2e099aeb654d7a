"""The rows of a run: a line of JSON a cell, written whole and at once, so that any end is a pause.

A run is cells of one model on the same clips with the same settings: `run` names all of that. A
cell that failed has `error` and is tried again; of two rows of a cell the later one counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from edge_audiokv.errors import InputError, OutputError
from edge_audiokv.eval.quants.grid import BASE_CELL, Cell, cell_of
from edge_audiokv.eval.quants.statistics import (
    COLLAPSED_WER,
    Interval,
    block_of,
    longest_repeat,
    percentiles,
    ratio,
)
from edge_audiokv.eval.wer import Hypothesis, Utterance, score_clip
from edge_audiokv.files import open_private
from edge_audiokv.output.base import output_error

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

Row = dict[str, Any]
SCHEMA = 1
_START = f'{{"schema": {SCHEMA}, '.encode()


class Store:
    """RUN.jsonl, for one process at a time. A torn last line is dropped when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def __enter__(self) -> Self:
        try:
            self._handle = open_private(self.path, append=True)
            if fcntl is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = self.path.read_bytes()
            if data and not data.startswith(_START[: len(data)]):
                raise _foreign(self.path)
            whole = data.rfind(b"\n") + 1
            read_rows(self.path)
            os.truncate(self._handle, whole)
        except BlockingIOError:
            self._close()
            raise OutputError(
                f"Another run writes {self.path}.", cure="Wait for it, or name another file."
            ) from None
        except OSError as error:
            self._close()
            raise output_error(str(self.path), error) from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if not os.fstat(self._handle).st_size:  # nothing was measured
                self.path.unlink()
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def append(self, row: Row) -> None:
        """Add a row, on the disk before this returns. Raises OutputError."""
        try:
            line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
            before = os.fstat(self._handle).st_size
            try:
                while line:
                    line = line[os.write(self._handle, line) :]
                os.fsync(self._handle)
            except OSError:
                with suppress(OSError):
                    os.truncate(self._handle, before)
                raise
        except OSError as error:
            raise output_error(str(self.path), error) from None


def read_rows(path: Path) -> list[Row]:
    """All whole rows of a run, in the order of the file. Raises InputError for another file."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break  # torn by a kill
        try:
            row = json.loads(line)
            if row["schema"] != SCHEMA:
                raise ValueError
            cell_of(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _foreign(path, number) from None
        rows.append(row)
    return rows


def _foreign(path: Path, number: int = 1) -> InputError:
    return InputError(
        f"{path} line {number} is no row of `edge-audiokv eval quants`.", cure="Name another file."
    )


def latest(rows: Sequence[Row]) -> dict[Cell, Row]:
    """The row of each cell that counts, failed ones left out."""
    found: dict[Cell, Row] = {}
    for row in rows:
        if "error" not in row:
            found[cell_of(row)] = row
    return found


def failed(rows: Sequence[Row]) -> dict[Cell, str]:
    """Cells that were tried and never measured, with the last reason."""
    good = latest(rows)
    return {cell_of(row): row["error"] for row in rows if cell_of(row) not in good}


def score(clips: Sequence[Utterance], block: str, found: Row) -> Row:
    """What was found in a cell, as a row tells it; `block` is the kind that is drawn anew."""
    scores, nats = [], []
    for clip, heard in zip(clips, found["clips"], strict=True):
        edits = score_clip(clip, Hypothesis(heard["text"], tuple(heard["flags"])))
        nats += heard["nats"]
        scores.append(
            {
                "id": clip.id,
                "block": block_of(clip, block),
                "audio_s": heard["audio_s"],
                "tokens": len(heard["nats"]),
                "nats": sum(heard["nats"]),
                "left_out": heard["left_out"],
                "same_top": heard["same_top"],
                "words": edits.words,
                "edits": edits.edits,
                "insertions": edits.insertions,
                "repeat_words": longest_repeat(edits.hypothesis),
                "flags": list(heard["flags"]),
                "kept_rows": heard["kept_rows"],
                "full_rows": heard["full_rows"],
                "kv_bytes": heard["kv_bytes"],
                "text": heard["text"],
            }
        )
    words, tokens = (max(1, sum(item[name] for item in scores)) for name in ("words", "tokens"))
    spread = percentiles(nats)
    return {
        "clips": len(scores),
        "words": words,
        "tokens": tokens,
        "audio_s": sum(item["audio_s"] for item in scores),
        "kld_mean": sum(nats) / tokens,
        **{f"kld_{name}": value for name, value in spread.items()},
        "kld_left_out": sum(item["left_out"] for item in scores) / tokens,
        "same_top": sum(item["same_top"] for item in scores) / tokens,
        "wer": sum(item["edits"] for item in scores) / words,
        "insertion_rate": sum(item["insertions"] for item in scores) / words,
        "collapsed_share": sum(map(_collapsed, scores)) / len(scores),
        "repeat_words": max(item["repeat_words"] for item in scores),
        "flagged_clips": sum(bool(item["flags"]) for item in scores),
        "kept_share": sum(item["kept_rows"] for item in scores)
        / sum(item["full_rows"] for item in scores),
        "evicted_clips": sum(item["kept_rows"] < item["full_rows"] for item in scores),
        "kv_bytes": round(sum(item["kv_bytes"] for item in scores) / len(scores)),
        "pool_bytes": found["pool_bytes"],
        "block": block,
        "blocks": len({item["block"] for item in scores}),
        "scores": scores,
        "timings": found["timings"],
    }


def compared(row: Row, base: Row) -> Row:
    """What `row` is beside the base's, clip by clip, with 95 % intervals."""
    mine, theirs = row["scores"], base["scores"]
    blocks = [item["block"] for item in mine]
    kld = ratio(column(mine, "nats"), column(mine, "tokens"), blocks)
    more = [a["edits"] - b["edits"] for a, b in zip(mine, theirs, strict=True)]
    rise = ratio(more, column(mine, "words"), blocks)
    return {
        **_named("kld", kld),
        "wer_rise": rise.value,
        **_named("wer_rise", rise),
        "wer_rise_at_most_0": rise.at_most_0,
        "collapsed_rise": row["collapsed_share"] - base["collapsed_share"],
    }


def column(scores: Sequence[Row], name: str) -> list[float]:
    return [item[name] for item in scores]


def base_of(rows: Sequence[Row]) -> Row | None:
    """The row that all others are compared with."""
    return latest(rows).get(BASE_CELL)


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def _collapsed(score: Row) -> bool:
    """More than half of the words wrong; with nothing to hear, anything heard."""
    return bool(score["edits"] > COLLAPSED_WER * score["words"])
