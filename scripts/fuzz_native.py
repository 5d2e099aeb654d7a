"""Walk at random over the head-wise cache, beside a model of it in numpy.

    python scripts/fuzz_native.py --cases 20000 --seed 0 --jobs 2

Each case is a walk of `--steps` calls, hostile ones among them, on two caches of a tiny model. The
first difference from the model, or a signal, ends the run with code 1 and the seed of its case.
`--seed S --cases 1` walks that case alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from scripts.fuzzing import Options, options, run


def main() -> None:
    given = options(__doc__ or "", steps=60)
    with tempfile.TemporaryDirectory() as folder:
        from tests.native import tiny

        path = tiny.write(Path(folder) / "llama.gguf", "llama")
        run(given, lambda seeds: walk_all(path, seeds, given))


def walk_all(path: Path, seeds: range, given: Options):
    """Walk the cases of `seeds`; yields each seed before its walk."""
    import numpy as np

    from edge_audiokv.native.context import HeadwiseContext
    from edge_audiokv.native.model import Model
    from tests.native.walking import Walk, step

    capacity = np.array([[64, 128], [128, 64]], np.int32)
    sizes = {"n_batch": 32, "score_window": 8, "n_threads": 1}
    with (
        Model(path) as model,
        HeadwiseContext(model, capacity, **sizes) as one,
        HeadwiseContext(model, capacity, **sizes) as other,
    ):
        for seed in seeds:
            yield seed
            draw = random.Random(seed)
            one.clear()
            other.clear()
            walks = Walk(one), Walk(other)
            for _ in range(given.steps):
                here = draw.randrange(2)
                step(draw, walks[here], walks[1 - here])


if __name__ == "__main__":
    main()
