"""What the comparison of policies measures, in the order of what matters most."""

from __future__ import annotations

from dataclasses import dataclass, replace

FULL = "keep-all"
OURS = "audiokv-edge"
MAIN = (
    OURS,
    "audiokv",
    "sparsemm",
    "snapkv",
    "adakv",
    "pyramidkv",
    "streaming-llm",
    "random",
)
SHARES = (0.8, 0.6, 0.4, 0.3, 0.2)
LOWER = (0.6, 0.4, 0.2)
Grid = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Cell:
    """One policy at one share; `question` in recall suites."""

    policy: str
    share: float
    question: str = ""


@dataclass(frozen=True)
class Suite:
    """`clips` joins of `seconds` (0: single utterances), every policy of `grid` on each.

    kind: "loss" (one-shot), "stream" (loss in a pool of the share's bytes), "words" (greedy text),
    "recall" (questions). Clips beyond the first `wide` only run `core`.
    """

    name: str
    kind: str
    title: str
    seconds: float
    clips: int
    grid: Grid
    wide: int = 10**9
    core: Grid = ()

    def grid_of(self, index: int) -> Grid:
        """What clip number `index` runs, the full cache first."""
        return ((FULL, 1.0), *(self.grid if index < self.wide else self.core))


def grid(names: tuple[str, ...], shares: tuple[float, ...]) -> Grid:
    return tuple((name, share) for name in names for share in shares)


def suites(every: tuple[str, ...]) -> tuple[Suite, ...]:
    """All suites; `every` are the names of all policies."""
    rest = tuple(name for name in (OURS, *every) if name != FULL)
    rest = tuple(dict.fromkeys(rest))
    streamed = (OURS, "audiokv", "sparsemm", "snapkv", "streaming-llm")
    return (
        Suite("loss-25s", "loss", "Loss, joins of 25 s", 25, 12, grid(rest, SHARES)),
        Suite(
            "words",
            "words",
            "Word errors, single utterances",
            0,
            10**9,
            grid(MAIN, SHARES),
            wide=48,
            core=((OURS, 0.4), (OURS, 0.6)),
        ),
        Suite(
            "stream-90s",
            "stream",
            "Loss as a stream, joins of 90 s",
            90,
            2,
            grid(streamed, (0.6, 0.4)),
        ),
        Suite("loss-90s", "loss", "Loss, joins of 90 s", 90, 3, grid(rest, LOWER)),
        Suite("recall-45s", "recall", "Recall, joins of 45 s", 45, 8, grid(MAIN, LOWER)),
        Suite(
            "stream-600s",
            "stream",
            "Loss as a stream, joins of 10 min",
            600,
            1,
            grid((OURS, "snapkv", "streaming-llm"), (0.2,)),
        ),
    )


def narrowed(
    suite: Suite,
    *,
    names: tuple[str, ...] = (),
    shares: tuple[float, ...] = (),
    clips: int | None = None,
    variants: tuple[str, ...] = (),
) -> Suite:
    """The suite with only these policies and shares (empty: all), and at most `clips` clips.

    `variants` are policies with options, such as "audiokv-edge window=32", at the suite's shares.
    """
    asked = tuple(dict.fromkeys(share for _, share in suite.grid))
    suite = replace(suite, grid=(*grid(variants, asked), *suite.grid))
    names = (*names, *variants) if names else names

    def kept(cells: Grid) -> Grid:
        return tuple(
            (name, share)
            for name, share in cells
            if (not names or name in names) and (not shares or share in shares)
        )

    return replace(
        suite,
        grid=kept(suite.grid),
        core=kept(suite.core),
        clips=suite.clips if clips is None else min(clips, suite.clips),
    )
