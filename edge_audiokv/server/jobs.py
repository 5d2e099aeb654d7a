"""One client's work, between the event loop that answers and the thread that has the model."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from starlette.types import Receive

from edge_audiokv.events import Final, Partial, SpeechStarted, Warned
from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError, stopping


@dataclass(frozen=True)
class Growth:
    """The answer so far, after one more token."""

    text: str


@dataclass(frozen=True)
class Answered:
    """An answer that is complete; `reason` says why it ends: "stop", "length" or "cancelled"."""

    text: str
    reason: str
    n_prompt_tokens: int
    n_tokens: int


@dataclass(frozen=True)
class Heard:
    """A clip is over."""

    duration_s: float


@dataclass(frozen=True)
class Failed:
    """Sound could not be heard; the job goes on."""

    message: str


@dataclass(frozen=True)
class Unanswered:
    """A question could not be answered; the job goes on."""

    message: str


@dataclass(frozen=True)
class Cleared:
    """A live session has forgotten the speech that was open."""


@dataclass(frozen=True)
class NothingOpen:
    """A live session was told to end a turn, and there is none."""


Live = SpeechStarted | Partial | Cleared | NothingOpen | Failed | Unanswered
Item = Final | Warned | Growth | Answered | Heard | Live


class Cancelled(Exception):
    """Ends a job in its thread."""


Steps = Callable[[Engine, "Job"], Iterator[Item | None]]


class Job:
    """`steps` runs on a thread of the model; what it yields comes out of `items` on the loop.

    The job owns `held`: its files and its place in the queue, given back once it has ended. What
    waits to be sent is bounded by the length of the sound; a job that hears a microphone, whose
    sound has no end, yields no item. A None that is yielded ends a step: others may have theirs.

    `ready` makes it a live one: is there anything for its next step? It is asked on such a thread;
    now and then a step is made all the same. `behind_s` is how much sound waits.
    """

    def __init__(
        self,
        steps: Steps,
        held: ExitStack,
        *,
        param: str,
        max_audio_s: float,
        ready: Callable[[], bool] | None = None,
        behind_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._steps = steps
        self._work: Iterator[Item | None] = iter(())
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item | BaseException | None] = asyncio.Queue()
        self._why: BaseException | None = None
        self._cancelled = threading.Event()
        self.param = param
        self.max_audio_s = max_audio_s
        self.ready = ready or (lambda: True)
        self.live = ready is not None
        self.behind_s = behind_s
        self.progressed_s = time.monotonic()
        # Of the model's time; that in which it waited is none of it.
        self.ran_s = 0.0

    # --- on the model's thread --------------------------------------------------------------------

    def begin(self, engine: Engine) -> None:
        """From here on `engine` is its own."""
        self._work = self._steps(engine, self)

    def step(self) -> bool:
        """Do a part of the work; False if that was the last. Raises what the work ends with."""
        started = time.monotonic()
        try:
            self.check()
            for item in self._work:
                if item is None:
                    return True
                self.tell(item)
        except BaseException:
            # What it holds of the engine is given back before anything else is done.
            self._work = iter(())
            raise
        finally:
            self.ran_s += time.monotonic() - started
        return False

    def check(self, heard_s: float = 0.0) -> None:
        """Still wanted, and within bounds? Raises Cancelled or ApiError; told often."""
        self.progressed_s = time.monotonic()
        if self._cancelled.is_set():
            raise Cancelled
        if heard_s > self.max_audio_s:
            raise ApiError(
                413,
                f"the audio is longer than {self.max_audio_s:.0f} s; send it in parts.",
                param=self.param,
                code="audio_too_long",
            )

    def tell(self, item: Item) -> None:
        """Give the client an item within a step. Raises Cancelled."""
        self.check()
        self._put(item)

    def end(self, error: Exception | None = None) -> None:
        """Nothing will be run any more: give files and place back, then let the client know. So
        who asks again at once finds the place free.
        """
        self._held.close()  # on this thread: the loop may have gone before the step was over
        self._put((self._why or ClientGone()) if isinstance(error, Cancelled) else error)

    def _put(self, item: Item | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    # --- on the loop ------------------------------------------------------------------------------

    def cancel(self, why: BaseException | None = None) -> None:
        """Let it end after its current step."""
        self._why = self._why or why
        self._cancelled.set()

    def stop(self) -> None:
        """The server is stopping: the client is told, whether the work has begun or not."""
        self.cancel(stopping())
        self._put(self._why)

    async def items(self, receive: Receive) -> AsyncIterator[Item]:
        """What the work yields. Raises what it raised, or ClientGone; then it is cancelled."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            while (item := await self._items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            watch.cancel()
            self.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.cancel()
        self._items.put_nowait(ClientGone())
