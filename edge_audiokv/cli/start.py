"""Where the `edge-audiokv` command starts: an interrupt says nothing, however early it comes.

Nothing is open while modules are imported, so until `main` takes over a signal may end the process
the plain way: the shell sees 130, 143 or 129, and no traceback.
"""

from __future__ import annotations

import signal


def start() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edge_audiokv import noise

    noise.apart()  # before any library is loaded that could write
    from edge_audiokv.cli.main import main

    main()
