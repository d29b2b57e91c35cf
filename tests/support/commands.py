"""Running the command as a user does, in a process of its own."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pty
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

import mobilenet_hub
from mobilenet_hub.__main__ import main

# Tests change the working folder; the package must be found from wherever they are.
_PACKAGE = str(Path(mobilenet_hub.__file__).parents[1])
_SUPPORT = str(Path(__file__).parent)


@functools.cache
def forking() -> ForkServerContext:
    """Processes that are forked from one that has imported everything and started nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    # What is to be preloaded is looked for where PYTHONPATH says, and nothing is said without it.
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join([_SUPPORT, _PACKAGE])):
        forkserver.ensure_running()
    return context


def environment() -> dict[str, str]:
    """What a child process needs to find the package."""
    path = os.pathsep.join([_PACKAGE, os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def command(*arguments: object) -> list[str]:
    """`mobilenet-hub` with arguments."""
    return [sys.executable, "-m", "mobilenet_hub", *map(str, arguments)]


def mobilenet_hub_command(
    *arguments: object, input: bytes = b"", text: bool = True, check: bool = False
) -> subprocess.CompletedProcess[Any]:
    """Run `mobilenet-hub`; text unless bytes are asked for.

    Its process is forked where everything is imported already, which takes most of the time of a
    short command. How it starts is in `test_main.py`.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("input", "output", "errors")]
        Path(streams[0]).write_bytes(input)
        given = (words, str(Path.cwd()), environment(), streams)
        process = forking().Process(target=_run, args=given)
        process.start()
        process.join()
        output, errors = (Path(stream).read_bytes() for stream in streams[1:])
    printed = (output.decode(), errors.decode()) if text else (output, errors)
    done = subprocess.CompletedProcess(words, process.exitcode, *printed)
    if check:
        assert done.returncode == 0, errors
    return done


def _run(words: list[str], folder: str, variables: dict[str, str], streams: list[str]) -> None:
    """Become the command, with these streams as standard input, output and error."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.argv = ["mobilenet-hub", *words]
    main()


def python(code: str) -> str:
    """Run Python code; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    return done.stdout


def on_a_terminal(*arguments: object, **variables: str) -> str:
    """Run `mobilenet-hub` with a terminal as its output; returns all that arrives there."""
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        command(*arguments), env={**environment(), **variables}, stdin=subprocess.DEVNULL,
        stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    printed = b""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while more := os.read(ours, 4096):
            printed += more
    os.close(ours)
    started.wait()
    return printed.decode("utf-8", "replace")


# A child's peak counts its parent's as it was at the fork: this parent is small.
_MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as file:
    print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), file=file)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measured(peak_file: Path, arguments: list[str]) -> list[str]:
    """A command whose greatest memory, in bytes, is written into a file when it ends."""
    return [sys.executable, "-c", _MEASURE, str(peak_file), *arguments]
