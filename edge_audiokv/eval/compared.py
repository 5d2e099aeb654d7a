"""Tables and panels of a comparison from its measured cells, with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import InputError
from edge_audiokv.eval.plots.panels import Panel
from edge_audiokv.eval.suites import FULL, OURS, Suite
from edge_audiokv.eval.sweep import RESAMPLES, Point, divergence_table, summarise, table
from edge_audiokv.eval.tasks import CHANCE, KINDS
from edge_audiokv.units import format_bytes

Row = dict[str, Any]
Cells = dict[tuple[str, float], dict[str, Row]]  # (policy, share) -> clip -> row


@dataclass(frozen=True)
class Words:
    """Word errors of one policy at one share over the clips that all compared cells have.

    Rates are shares of the reference's words; `rise` is above the full cache, absolute, with its
    95 % interval over clips (both drawn together); `loops` is the share of clips that the guard
    stopped.
    """

    policy: str
    share: float
    clips: int
    words: int
    wer: float
    rise: float
    rise_low: float
    rise_high: float
    raw_wer: float
    loops: float
    kept_bytes: float


def good(rows: Sequence[Row]) -> list[Row]:
    """Rows that were measured, not refused."""
    return [row for row in rows if "error" not in row]


def refused(rows: Sequence[Row]) -> list[str]:
    """One line a policy and share that refused some clip."""
    found: dict[tuple[str, float], Row] = {}
    for row in rows:
        if "error" in row:
            found.setdefault((row["policy"], row["share"]), row)
    return [f"{name} at {share:.0%}: {row['error']}" for (name, share), row in found.items()]


def losses(suite: Suite, rows: Sequence[Row]) -> tuple[str, Panel] | None:
    """Markdown and panel of a loss or stream suite; None while no clip is done under every cell."""
    names = {field.name for field in fields(Point)}
    points = [Point(**{k: v for k, v in row.items() if k in names}) for row in good(rows)]
    try:
        summaries = summarise(points)
    except InputError:
        return None
    if not summaries:
        return None
    full = next((s.nll for s in summaries if s.share >= 1), None)
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for s in summaries:
        if s.share < 1:
            lines.setdefault(s.policy, []).append((s.share, s.nll, s.nll_low, s.nll_high))
    panel = Panel(suite.title, "nats per token of the reference", full, lines, logarithmic=True)
    text = table(summaries, title=suite.title)
    if suite.kind == "loss":
        text += "\n" + divergence_table(summaries)
    return text + "\n" + rivals_text(by_cell(rows)), panel


def rivals(cells: Cells, *, seed: int = 0) -> list[tuple[str, float, float, float, float]]:
    """Who loses less than `audiokv-edge` at the same share, by more than chance would have it.

    (policy, share, difference, low, high): losses paired clip by clip, as shares of the full
    cache's; 95 % bootstrap interval over clips. Many are compared, so a few are expected.
    """
    found = []
    for (policy, share), theirs in sorted(cells.items()):
        ours = cells.get((OURS, share), {})
        shared = sorted(set(theirs) & set(ours) & set(cells.get((FULL, 1.0), {})))
        if policy in (OURS, FULL) or len(shared) < 2:
            continue
        full = np.array([cells[FULL, 1.0][clip]["nll"] for clip in shared])
        less = np.array([theirs[clip]["nll"] - ours[clip]["nll"] for clip in shared])
        draws = np.random.default_rng(seed).integers(0, len(shared), (RESAMPLES, len(shared)))
        low, high = np.percentile(less[draws].sum(1) / full[draws].sum(1), [2.5, 97.5])
        if high < 0:
            found.append((policy, share, float(less.sum() / full.sum()), float(low), float(high)))
    return found


def rivals_text(cells: Cells) -> str:
    """One line: the policies that beat ours, or that none does."""
    said = [
        f"{policy} at {share:.0%} ({gain:+.1%} of the full cache's loss [{low:+.1%}, {high:+.1%}])"
        for policy, share, gain, low, high in rivals(cells)
    ]
    compared = sum(name not in (OURS, FULL) for name, _ in cells)
    return (
        f"Better than {OURS} at the same share by more than their interval, paired by clip, of "
        f"{compared} compared: {'; '.join(said) or 'none'}.\n"
    )


def by_cell(rows: Sequence[Row]) -> Cells:
    cells: Cells = {}
    for row in good(rows):
        cells.setdefault((row["policy"], row["share"]), {})[row["clip"]] = row
    return cells


def word_errors(cells: Cells, *, seed: int = 0) -> list[Words]:
    """One `Words` a cell, over the clips that all cells have; empty without the full cache."""
    if (FULL, 1.0) not in cells:
        return []
    shared = sorted(set.intersection(*(set(rows) for rows in cells.values())))
    if not shared:
        return []
    draws = np.random.default_rng(seed).integers(0, len(shared), (RESAMPLES, len(shared)))

    def column(cell: dict[str, Row], name: str) -> NDArray[np.float64]:
        return np.array([cell[clip][name] for clip in shared], np.float64)

    words = column(cells[FULL, 1.0], "words")
    full = column(cells[FULL, 1.0], "edits")
    result = []
    for (policy, share), cell in sorted(cells.items()):
        edits, raw = column(cell, "edits"), column(cell, "raw_edits")
        more = (edits - full)[draws].sum(1) / words[draws].sum(1)
        low, high = np.percentile(more, [2.5, 97.5])
        result.append(
            Words(
                policy,
                share,
                len(shared),
                int(words.sum()),
                float(edits.sum() / words.sum()),
                float((edits - full).sum() / words.sum()),
                float(low),
                float(high),
                float(raw.sum() / words.sum()),
                float(column(cell, "looped").mean()),
                float(column(cell, "kept_bytes").mean()),
            )
        )
    return result


def words_text(title: str, found: Sequence[Words]) -> str:
    """Markdown: word error rate and its rise; then unguarded rate and loops."""
    full = next(w for w in found if w.policy == FULL)
    shares = sorted({w.share for w in found if w.policy != FULL}, reverse=True)
    by = {(w.policy, w.share): w for w in found}
    names = sorted(
        {w.policy for w in found if w.policy != FULL},
        key=lambda n: np.mean([by[n, s].wer for s in shares if (n, s) in by]),
    )
    head = f"| policy | {' | '.join(f'{s:.0%}' for s in shares)} |\n|---|{'---|' * len(shares)}"
    out = [
        f"### {title}: {full.clips} clips, {full.words} words; full cache {full.wer:.1%},"
        f" without the loop guard {full.raw_wer:.1%}, loops {full.loops:.1%}\n",
        "Rise of the word error rate in points (absolute), 95 % interval, loop-guarded:\n",
        head,
    ]
    for name in names:
        texts = []
        for share in shares:
            w = by.get((name, share))
            texts.append(
                f"{100 * w.rise:+.2f} [{100 * w.rise_low:+.2f}, {100 * w.rise_high:+.2f}]"
                if w
                else "-"
            )
        out.append(f"| {name} | {' | '.join(texts)} |")
    out += ["", "Word error rate guarded / unguarded, share of clips with a loop:\n", head]
    for name in names:
        cells = [by.get((name, share)) for share in shares]
        texts = [f"{w.wer:.1%} / {w.raw_wer:.1%}, {w.loops:.0%}" if w else "-" for w in cells]
        out.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join([*out, ""])


def words_panel(title: str, found: Sequence[Words]) -> Panel:
    full = next(w.wer for w in found if w.policy == FULL)
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for w in found:
        if w.policy != FULL:
            low, high = full + w.rise_low, full + w.rise_high
            lines.setdefault(w.policy, []).append((w.share, 100 * w.wer, 100 * low, 100 * high))
    return Panel(title, "word error rate, %", 100 * full, lines, logarithmic=True)


def words_report(suite: Suite, rows: Sequence[Row]) -> tuple[str, Panel] | None:
    """All main policies on the clips that all of them have; ours on all clips it has."""
    cells = by_cell(rows)
    found = word_errors(cells)
    if not found:
        return None
    text = words_text(suite.title, found)
    core = {c: cells[c] for c in ((FULL, 1.0), *suite.core) if c in cells}
    wide = word_errors(core)
    if len(core) > 1 and wide and wide[0].clips > found[0].clips:
        text += "\n" + words_text(f"{suite.title}, {OURS} on more clips", wide)
    return text, words_panel(suite.title, found)


def recall_report(suite: Suite, rows: Sequence[Row]) -> str | None:
    """Right answers by policy and share, and by kind with the full cache."""
    cells: dict[tuple[str, float], dict[tuple[str, str], Row]] = {}
    for row in good(rows):
        cells.setdefault((row["policy"], row["share"]), {})[row["clip"], row["question"]] = row
    if (FULL, 1.0) not in cells:
        return None
    shared = set.intersection(*(set(c) for c in cells.values()))
    if not shared:
        return None

    def rate(cell: dict[tuple[str, str], Row]) -> str:
        right = sum(cell[key]["right"] for key in shared)
        return f"{right} ({right / len(shared):.0%})"

    full = cells[FULL, 1.0]
    shares = sorted({share for _, share in cells if share < 1}, reverse=True)
    kinds = []
    for kind in KINDS:
        mine = [full[key] for key in shared if full[key]["kind"] == kind]
        if mine:
            chance = f", chance {CHANCE[kind]:.0%}" if kind in CHANCE else ""
            kinds.append(f"{kind} {sum(r['right'] for r in mine)} of {len(mine)}{chance}")
    out = [
        f"### {suite.title}: {len(shared)} questions, right answers; full cache {rate(full)}:"
        f" {'; '.join(kinds)}\n",
        f"| policy | {' | '.join(f'{s:.0%}' for s in shares)} |\n|---|{'---|' * len(shares)}",
    ]
    for name in dict.fromkeys(name for name, _ in suite.grid):
        texts = [rate(cells[name, s]) if (name, s) in cells else "-" for s in shares]
        out.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join([*out, ""])


def bytes_text(suite: Suite, rows: Sequence[Row]) -> str:
    """What the native layer held for the prompt and the text, mean over clips, per policy."""
    cells = by_cell(rows)
    shares = sorted({share for _, share in cells}, reverse=True)
    head = f"| policy | {' | '.join(f'{s:.0%}' for s in shares)} |\n|---|{'---|' * len(shares)}"
    out = [f"### Bytes of K and V rows held, {suite.title[0].lower()}{suite.title[1:]}\n", head]
    for name in sorted({name for name, _ in cells}):
        texts = []
        for share in shares:
            cell = cells.get((name, share))
            held = None if cell is None else np.mean([r["pool_bytes"] for r in cell.values()])
            texts.append("-" if held is None else format_bytes(int(held)))
        out.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join([*out, ""])
