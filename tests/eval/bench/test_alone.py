"""Functions in processes of their own: what they find, tell and raise."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import active_children, util
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import MemoryBudgetError, NativeError
from edge_audiokv.eval.bench.alone import Tell, alone


def find(number: int, tell: Tell) -> tuple[int, int]:
    tell("one")
    tell("two")
    return number + 1, os.getpid()


def refuse(tell: Tell) -> None:
    raise MemoryBudgetError("It does not fit.", cure="Use less.")


def die(tell: Tell) -> None:
    os._exit(7)


def hears_of_ctrl_c(tell: Tell) -> bool:
    handled = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    return handled and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child imports this file by its name."""
    for function in (find, refuse, die, hears_of_ctrl_c):
        monkeypatch.setattr(function, "__module__", Path(__file__).stem)
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_what_it_finds_and_tells_comes_back_from_elsewhere() -> None:
    told: list[str] = []
    number, process = alone(find, 41, tell=told.append)
    assert number == 42 and told == ["one", "two"]
    assert process != os.getpid()


def test_what_it_raises_is_raised() -> None:
    with pytest.raises(MemoryBudgetError, match="does not fit") as raised:
        alone(refuse)
    assert raised.value.cure == "Use less."


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(NativeError, match="code 7"):
        alone(die)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_for_us_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not alone(hears_of_ctrl_c)
    begin = util.spawnv_passfds

    def interrupted(*args: Any) -> Any:
        """Ctrl-C comes when the process is there and has not been told yet what to do."""
        process = begin(*args)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(util, "spawnv_passfds", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        alone(find, 41)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert active_children() == [] and capfd.readouterr().err == ""


def test_nothing_from_where_we_stand_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("multiprocessing", "signal", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    # Set for all tests, and by hardly anybody else.
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    number, _ = alone(find, 1)
    assert number == 2 and not (tmp_path / "ran").exists()
    assert "PYTHONSAFEPATH" not in os.environ
