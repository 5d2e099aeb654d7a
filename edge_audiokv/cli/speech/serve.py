"""`edge-audiokv serve`: one loaded model for every program that speaks OpenAI's HTTP."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.loading import broken_off_tells, loading
from edge_audiokv.cli.options import EngineOption, engine_options, segment_option, settings_from
from edge_audiokv.cli.values import Number, Size
from edge_audiokv.errors import InputError, MissingExtraError
from edge_audiokv.units import parse_bytes, printable

if TYPE_CHECKING:
    from edge_audiokv.server.run import Door
    from edge_audiokv.server.service import Service

_EXTRA = ("h11", "python_multipart", "starlette", "uvicorn", "websockets")
# Guessed keys are tried by the thousand; a random one of this length is not found.
_LEAST_KEY_CHARS = 16
_UNIX = getattr(socket, "AF_UNIX", None)
# What listens on all addresses of the machine.
_ANY = ("0.0.0.0", "::")


@click.command(cls=Command)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but loopback wants an API key.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port; 0 takes one that is free.",
)
@click.option(
    "--uds",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A Unix socket, its owner's alone, instead of a port; with --port as well.",
)
@click.option(
    "--api-key",
    cls=EngineOption,
    metavar="KEY",
    help="Who asks must know it. Others see a command line: rather set EDGE_AUDIOKV_API_KEY.",
)
@click.option(
    "--api-key-file",
    cls=EngineOption,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file that holds the key; also EDGE_AUDIOKV_API_KEY_FILE.",
)
@click.option(
    "--wyoming",
    metavar="URI",
    help="Also speak Wyoming, as Home Assistant does: tcp://127.0.0.1:10300 or unix://PATH.",
)
@click.option(
    "--zeroconf",
    metavar="[NAME]",
    is_flag=False,
    flag_value="edge-audiokv",
    help="Let Home Assistant on this machine find Wyoming's port by itself, under this name; no "
    "other machine is told.",
)
@click.option(
    "--events",
    metavar="[PATH]",
    is_flag=False,
    flag_value="",
    help="Also listen for `client` on a Unix socket, by default "
    "$XDG_RUNTIME_DIR/edge-audiokv.sock; without that variable in the folder of models.",
)
@click.option(
    "--no-page",
    is_flag=True,
    help="Without the page for browsers at /: what is said, questions, and the memory.",
)
@engine_options
@click.option(
    "--sessions",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Live clients at once; they share the model and divide what --mem leaves for memory.",
)
@click.option(
    "--queue",
    type=click.IntRange(0, 64),
    default=2,
    show_default=True,
    help="Requests that may wait; one more is told to come again.",
)
@click.option(
    "--max-upload",
    type=Size(shares=False, unit="MB"),
    default="25MiB",
    show_default=True,
    help="Largest sound file of a request; also how much live sound may wait.",
)
@click.option(
    "--max-audio-s",
    type=Number(1, 86400),
    default=3600.0,
    show_default=True,
    help="Longest sound of a request, once decoded.",
)
@segment_option(15.0)
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    host: str,
    port: int,
    uds: Path | None,
    api_key: str | None,
    api_key_file: Path | None,
    wyoming: str | None,
    zeroconf: str | None,
    events: str | None,
    no_page: bool,
    sessions: int,
    queue: int,
    max_upload: str,
    max_audio_s: float,
    max_segment_s: float,
    **values: Any,
) -> None:
    """Serve OpenAI's HTTP interface to programs on this machine.

    The model is loaded once, within --mem, and does one request after another: transcriptions
    (json, text, srt, vtt, verbose_json, streams) and chats about a clip. A WebSocket client
    (OpenAI's Realtime, transcription sessions) sends live sound and is told what is said as it is
    said; it has one of the --sessions to itself. With --wyoming it also writes down what Home
    Assistant's satellites send; with --events `edge-audiokv client` has it listen to this machine's
    microphone. Nothing of a request is kept. It ends at SIGINT or SIGTERM, once who is being
    answered has been.

    \b
    POST /v1/audio/transcriptions, POST /v1/chat/completions,
    WebSocket /v1/realtime, GET /v1/models, /v1/edge/memory, /health,
    /ready, /metrics, /openapi.json, and a page for browsers at /

    \b
    Examples:
      edge-audiokv serve --mem 1GB --wyoming tcp://127.0.0.1:10300
      edge-audiokv serve --uds $XDG_RUNTIME_DIR/http.sock --events
      edge-audiokv serve --host 0.0.0.0 --api-key-file key.txt
    """
    asked = {"wyoming": wyoming, "zeroconf": zeroconf}
    for name in (*_EXTRA, *(name for name, value in asked.items() if value is not None)):
        _require(name)
    # They need the extra.
    from edge_audiokv.cli.results import tell_loaded
    from edge_audiokv.server.engines import Engines
    from edge_audiokv.server.guard import Guard
    from edge_audiokv.server.limits import MICROPHONE_BYTES, REQUESTS_BYTES, Limits
    from edge_audiokv.server.listening import is_loopback, open_tcp, open_unix
    from edge_audiokv.server.run import serve as run
    from edge_audiokv.server.service import Service
    from edge_audiokv.server.spool import spool_folder
    from edge_audiokv.server.worker import Worker

    key = _key(api_key, api_key_file)
    on_port = uds is None or _given(ctx, "port") or _given(ctx, "host")
    if on_port and key is None and not is_loopback(host):
        raise click.UsageError(
            f"--host {host} lets other machines in: it needs --api-key-file FILE, or "
            "EDGE_AUDIOKV_API_KEY.",
            ctx,
        )
    limits = Limits(queue=queue, upload_bytes=parse_bytes(max_upload), audio_s=max_audio_s)
    settings, folder = settings_from(values), spool_folder()
    guard, sockets, places, browsers = Guard(key=key), [], [], ""
    with ExitStack() as stack:
        with broken_off_tells("served"):
            # Addresses that cannot be used are told before a model is loaded, when nobody can
            # connect yet.
            if uds is not None:
                sockets.append(stack.enter_context(open_unix(uds)))
                places.append(str(uds))
            if on_port:
                bound = stack.enter_context(open_tcp(host, port))
                at = bound.getsockname()[1]
                sockets.append(bound)
                places.append(_address(host, at))
                browsers = page_address(host, at)
                if is_loopback(host):
                    guard = Guard.loopback(at, key, names=[host])
            wyoming_sockets = []
            if wyoming is not None:
                from edge_audiokv.server.wyoming.address import open_address

                try:
                    wyoming_sockets.append(stack.enter_context(open_address(wyoming)))
                except InputError as error:
                    raise click.BadParameter(str(error), param_hint="--wyoming") from None
                places.append(_place_of(wyoming_sockets[0]))
            announced = _announced(zeroconf, wyoming_sockets, stack)
            events_sockets, held_bytes = [], REQUESTS_BYTES
            if events is not None:
                from edge_audiokv.server.events.place import open_socket

                events_sockets.append(
                    stack.enter_context(open_socket(Path(events) if events else None))
                )
                places.append(str(events_sockets[0].getsockname()))
                held_bytes += MICROPHONE_BYTES
            with loading(voice.console(), settings.model, missed="served") as report:
                engines = Engines(
                    settings,
                    max_segment_s=max_segment_s,
                    sessions=sessions,
                    held_bytes=held_bytes,
                    progress=report,
                )
                stack.callback(engines.close)
                engines.load()
        _log_errors()
        worker = Worker(engines.all, queue=queue, n_threads=settings.n_threads)
        for waiting in (*sockets, *wyoming_sockets):
            waiting.listen()  # who reads where it serves may come at once
        where = printable(" and ".join(places))
        service = Service(worker, folder, limits, guard, page=not no_page)
        voice.note(f"serving {service.engine.name} at {where}")
        if service.page and browsers:
            voice.note(f"in a browser: {printable(browsers)}/")
        tell_loaded(engines.runtime)
        run(
            service,
            sockets,
            doors=[*_doors(service, wyoming_sockets, events_sockets), *announced],
            on_interrupt=lambda: voice.note(
                "stopping; what is being answered is finished first, and Ctrl-C again ends at once"
            ),
        )


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def page_address(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on `host`: one that stands for
    all addresses is none that it could open.
    """
    return _address("127.0.0.1" if host in _ANY else host, port)


def _place_of(bound: socket.socket) -> str:
    """Wyoming's address of a socket, with the port that it has got."""
    name = bound.getsockname()
    if isinstance(name, str):
        return f"unix://{name}"
    return f"tcp://[{name[0]}]:{name[1]}" if ":" in name[0] else f"tcp://{name[0]}:{name[1]}"


def _announced(
    name: str | None, wyoming_sockets: list[socket.socket], stack: ExitStack
) -> list[Door]:
    """What tells where Wyoming's door is, if that is asked for."""
    if name is None:
        return []
    if not any(bound.family != _UNIX for bound in wyoming_sockets):
        raise click.UsageError(
            "--zeroconf announces a port of Wyoming, and there is none: "
            "--wyoming tcp://127.0.0.1:10300"
        )
    from edge_audiokv.server.wyoming.announce import Announcement

    try:
        return [stack.enter_context(Announcement(wyoming_sockets[0], name))]
    except InputError as error:
        raise click.BadParameter(str(error), param_hint="--zeroconf") from None


def _doors(
    service: Service, wyoming_sockets: list[socket.socket], events_sockets: list[socket.socket]
) -> list[Door]:
    doors: list[Door] = []
    if wyoming_sockets:
        from edge_audiokv.server.wyoming.door import WyomingDoor

        doors.append(WyomingDoor(service, wyoming_sockets))
    if events_sockets:
        from edge_audiokv.server.events.door import EventsDoor

        doors.append(EventsDoor(service, events_sockets))
    return doors


def _log_errors() -> None:
    """Nobody watches a server: what goes wrong is told on stderr, also without -v."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
        # Every client that speaks no HTTP is worth a warning to it.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT


def _require(name: str) -> None:
    try:
        import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"Serving needs {name.replace('_', '-')}, which is not installed.",
            cure="Run: pip install 'edge-audiokv[server]'",
        ) from None


def _key(key: str | None, path: Path | None) -> str | None:
    """The key, or None if there is none. Raises BadParameter for one that is no key."""
    hint = "--api-key" if path is None else "--api-key-file"
    if path is not None:
        if key is not None:
            raise click.UsageError("--api-key and --api-key-file exclude each other.")
        try:
            with path.open(encoding="utf-8") as file:
                key = file.read(4096).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise click.BadParameter(f"{path} cannot be read: {why}.", param_hint=hint) from None
    if key is None:
        return None
    if len(key) < _LEAST_KEY_CHARS or not key.isascii() or not key.isprintable() or " " in key:
        raise click.BadParameter(
            f"an API key has at least {_LEAST_KEY_CHARS} printable characters and no spaces; "
            "make one: openssl rand -hex 16",
            param_hint=hint,
        )
    return key
