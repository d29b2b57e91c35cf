"""The `mobilenet-hub` command, and `python -m mobilenet_hub`.

Nothing is imported before it is inside `main`, so that Ctrl-C at any time ends it in order.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import threading
from contextlib import suppress

# New objects after which Python looks for garbage in circles (700 or 2,000 by default). While
# hundreds of modules are imported there is none, and to look once takes 0.02 s; a short command
# makes 70,000 objects.
_OBJECTS_BETWEEN_COLLECTIONS = 200_000


def main() -> None:
    """Run the command, and end the process with its exit code; 130 where it was interrupted."""
    try:
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        _settle_streams()
        from mobilenet_hub.cli import run

        code = run()
    except KeyboardInterrupt:
        code = 130
    code = _written(code)
    with suppress(KeyboardInterrupt):
        if _is_alone():
            _end(code)
    sys.exit(code)


def _is_alone() -> bool:
    """Wait for other threads, as Python does at its end; whether none is left."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join()
    return not any(thread.is_alive() for thread in others)


def _end(code: int) -> None:
    """End the process without taking apart what is in memory, which takes OpenVINO 0.1 s.

    What was registered for the exit is done, and what was printed is written; returns only where
    that is not possible.
    """
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _written(code: int) -> int:
    """Write what is held of standard output; the exit code, which is 1 where that failed.

    What cannot be written is given up: Python would try again at its end, and end with 120.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == 0:
            sys.stderr.write(f"error: {error.strerror}\n")
        return code or 1
    return code


def _settle_streams() -> None:
    """Closed streams lead nowhere; what a stream's encoding lacks is escaped.

    Their numbers 0 to 2 are taken, so that no file opened later gets one, in which a library that
    prints would write.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
