"""The `mobilenet-hub` command: parse, call one function of the library, print.

Exit codes: 0 done; 1 the request could not be carried out, one sentence on standard error says why;
2 wrong usage; 130 interrupted. `embed`, `classify`, `evaluate` and `search` end with 0 when single
images failed and are listed, unless `--strict` asks for 3.
"""

from __future__ import annotations

import sys

import typer

from mobilenet_hub import __version__
from mobilenet_hub.cli import (
    catalog,
    checks,
    classify,
    embed,
    evaluate,
    retrain,
    search,
    weights,
)
from mobilenet_hub.cli.output import EXIT_ERROR, print_error, print_line, print_note
from mobilenet_hub.errors import MobileNetHubError
from mobilenet_hub.weights.storage import store

# The base of Typer's errors of usage, which it has no public name for.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

_GROUPS = (catalog, checks, classify, embed, evaluate, retrain, search, weights)
_COMMANDS = {name: command for group in _GROUPS for name, command in group.COMMANDS.items()}
store.show_download = weights.download_bar  # all downloads are shown as `fetch` shows its own


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"mobilenet-hub {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of the command as a whole."""


def make_app(only: str | None = None) -> typer.Typer:
    """The command and its subcommands.

    Args:
        only: of the subcommands, where it is one; the options of all take Typer 0.03 s.
    """
    app = typer.Typer(
        name="mobilenet-hub",
        help="Feature vectors and labels from images with Google's MobileNet V1 and V2 modules.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 images failed under --strict, "
        "130 interrupted.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    if only in _COMMANDS:
        app.command(only)(_COMMANDS[only])
        return app
    for name, command in _COMMANDS.items():
        app.command(name)(command)
    cache = typer.Typer(help="What is in the cache of weights.", no_args_is_help=True)
    for name, command in weights.CACHE_COMMANDS.items():
        cache.command(name)(command)
    app.add_typer(cache, name="cache")
    return app


def run() -> int:
    """Run the command; errors of usage and of the library become a sentence on standard error.

    Returns:
        The exit code.
    """
    try:
        return make_app(sys.argv[1] if len(sys.argv) > 1 else None)(standalone_mode=False) or 0
    except _UsageError as error:
        if message := error.format_message():  # empty where help was printed instead
            command = error.ctx.command_path if error.ctx else "mobilenet-hub"
            print_error(message)
            print_note(f"`{command} --help` explains the options.")
        return error.exit_code
    except MobileNetHubError as error:
        print_error(str(error))
    except OSError as error:
        received = "" if error.filename is None else f". Received: {error.filename!r}"
        print_error(f"{error.strerror}{received}" if error.strerror else str(error))
    except MemoryError:
        print_error("there is not enough memory for this")
    return EXIT_ERROR
