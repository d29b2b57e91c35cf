"""The process of the command: interrupted, with closed streams, into a pipe that closes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import command, environment, python
from commands import mobilenet_hub_command as run

INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["mobilenet-hub", *{arguments!r}]
from mobilenet_hub.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mobilenet_hub.cli", ["list"]),
        ("typer", ["list"]),
        ("mobilenet_hub.catalog", ["list"]),
        ("numpy", ["classify", "x.jpg"]),
        ("mobilenet_hub.errors", ["info", "x"]),
    ],
)
def test_ctrl_c_while_files_are_still_imported_is_130_without_a_traceback(name, arguments):
    code = INTERRUPTED_WHILE_IMPORTING.format(name=name, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_while_the_command_waits_is_130_without_a_traceback():
    started = subprocess.Popen(
        command("classify", "-"), env=environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started.stdin.write("x" * 70_000)  # more than a pipe holds: it has begun to read
    started.stdin.flush()
    started.send_signal(signal.SIGINT)
    started.wait()
    assert (started.returncode, started.stderr.read()) == (130, "")


def test_closed_streams_are_nothing_to_stumble_over(tmp_path, examples):
    words = [*map(str, command("classify", examples / "cat.jpg"))]
    shell = 'exec "$@" <&- >&- 2>&-'
    closed = subprocess.run(["/bin/sh", "-c", shell, "sh", *words], env=environment(), check=False)
    assert closed.returncode == 0


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    code = (
        "from mobilenet_hub.__main__ import _settle_streams\n"
        "_settle_streams()\n"
        f"file = open({str(tmp_path / 'number')!r}, 'w')\n"
        "print(file.fileno(), file=file)"
    )
    shell = 'exec "$@" <&- >&- 2>&-'
    words = [sys.executable, "-c", code]
    subprocess.run(["/bin/sh", "-c", shell, "sh", *words], env=environment(), check=True)
    assert int((tmp_path / "number").read_text()) > 2


def test_a_reader_that_goes_away_ends_the_command_without_a_traceback():
    shell = '"$@" | head -n 1'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *command("list", "--all-versions", "--json")],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_wrong_usage_is_one_sentence_and_where_to_read_more_and_shows_no_escapes():
    done = run("embed", "--no\x1b]0;such\x07")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "embed --help` explains the options." in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_is_full_is_one_sentence(unbuffered):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("list"), env={**environment(), "PYTHONUNBUFFERED": unbuffered}, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


ENDING = """
import atexit, sys, threading, time
from mobilenet_hub import cli

def run():
    atexit.register(print, "registered for the exit")
    {more}
    sys.stdout.write("printed, ")
    return 7

cli.run = run
from mobilenet_hub.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "more", ["pass", "threading.Thread(target=time.sleep, args=[0.1]).start()"]
)
def test_a_command_ends_with_all_that_was_registered_and_printed(more):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(more=more)], env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "printed, registered for the exit\n")
    assert done.stderr == ""


def test_a_first_label_imports_nothing_that_it_does_not_need(examples):
    heavy = [
        "PIL", "http.client", "keras", "mobilenet_hub.graph.int8", "onnx", "onnxruntime",
        "openvino.tools.ovc", "pyarrow", "requests", "rich", "tensorflow", "torch",
    ]  # fmt: skip
    code = f"""if True:
        import sys
        sys.argv = ["mobilenet-hub", "classify", {str(examples / "cat.jpg")!r}]
        from mobilenet_hub.cli import run
        run()
        print([name for name in {heavy} if name in sys.modules])
    """
    assert python(code).splitlines()[-1] == "[]"
