"""The options: declared once, explained, and what cannot be meant is refused."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import typer

from mobilenet_hub.cli import make_app, options


def commands():
    """Every command by its name, and the parameters that its help shows."""

    def walk(group, name):
        for word, command in group.commands.items():
            full = f"{name} {word}".strip()
            yield from walk(command, full) if hasattr(command, "commands") else [(full, command)]

    return dict(walk(typer.main.get_command(make_app()), ""))


def test_every_argument_and_option_of_every_command_is_explained():
    silent = [
        f"{name}: {parameter.name}"
        for name, command in commands().items()
        for parameter in command.params
        if len((parameter.help or "").split()) < 3
    ]
    assert silent == []


def test_every_option_is_declared_in_a_file_of_options():
    others = pkgutil.iter_modules(options.__path__, f"{options.__name__}.")
    files = [options, *(import_module(module.name) for module in others)]
    values = (value for file in files for value in vars(file).values())
    declared = {value for value in values if hasattr(value, "__metadata__")}
    for command in commands().values():
        function = inspect.unwrap(command.callback)
        hints = inspect.get_annotations(function, eval_str=True)
        assert {hint for name, hint in hints.items() if name != "return"} <= declared
