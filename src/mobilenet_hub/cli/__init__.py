"""The `mobilenet-hub` command: parse, call one function of the library, print.

Exit codes: 0 done; 1 the request could not be carried out, one sentence on standard error says why;
2 wrong usage; 130 interrupted. `embed` and `classify` end with 0 when single images failed and are
listed, unless `--strict` asks for 3.
"""

from __future__ import annotations

import io
import os
import sys

import typer

from mobilenet_hub import __version__
from mobilenet_hub.cli import catalog, classify, embed, search, weights
from mobilenet_hub.errors import MobileNetHubError

EXIT_ERROR, EXIT_USAGE, EXIT_ITEMS_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="mobilenet-hub",
    help="Feature vectors and labels from images with Google's MobileNet V1 and V2 modules.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 images failed under --strict, "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (catalog, classify, embed, search, weights):
    group.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mobilenet-hub {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of the command as a whole."""


def main() -> None:
    """Run the command; library errors become one line on standard error."""
    _settle_streams()
    try:
        app()
    except (MobileNetHubError, OSError) as error:
        print_error(str(error))
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(EXIT_INTERRUPTED)


def _settle_streams() -> None:
    """Closed streams lead nowhere; what a stream's encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_error(message: str) -> None:
    """One line on standard error, in red on a terminal."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo(message, err=True)
