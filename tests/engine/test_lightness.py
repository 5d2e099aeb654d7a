"""A session loads what it uses: libraries are memory under its cap, and seconds of its start."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration
# scipy takes 19 MB, asyncio and what fetches files 5 and 2.
UNUSED = ("scipy", "asyncio", "ssl", "http", "unittest", "pydoc", "click", "rich")


@pytest.mark.parametrize("policy", ["audiokv-edge", "snapkv"])
def test_a_session_loads_nothing_that_it_does_not_use(policy: str, clips) -> None:
    code = (
        "import sys, edge_audiokv as ea\n"
        f"settings = dict(kv_policy={policy!r}, kv_share=0.4)\n"
        "with ea.Session(**settings) as session:\n"
        f"    for _ in session.listen({str(clips['letter'].path)!r}): pass\n"
        "    session.ask('what is said?')\n"
        f"print([name for name in {UNUSED} if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"
