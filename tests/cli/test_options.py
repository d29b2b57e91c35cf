"""The options: declared once, explained, and what cannot be meant is refused."""

from __future__ import annotations

import inspect

import pytest
import typer

from mobilenet_hub.cli import app, options


def commands():
    """Every command by its name, and the parameters that its help shows."""

    def walk(group, name):
        for word, command in group.commands.items():
            full = f"{name} {word}".strip()
            yield from walk(command, full) if hasattr(command, "commands") else [(full, command)]

    return dict(walk(typer.main.get_command(app), ""))


def test_every_argument_and_option_of_every_command_is_explained():
    silent = [
        f"{name}: {parameter.name}"
        for name, command in commands().items()
        for parameter in command.params
        if len((parameter.help or "").split()) < 3
    ]
    assert silent == []


def test_every_option_is_declared_in_one_place():
    declared = {value for value in vars(options).values() if hasattr(value, "__metadata__")}
    for command in commands().values():
        function = inspect.unwrap(command.callback)
        hints = inspect.get_annotations(function, eval_str=True)
        assert {hint for name, hint in hints.items() if name != "return"} <= declared


@pytest.mark.parametrize(
    ("text", "size"), [("128", (128, 128)), ("97x131", (97, 131)), ("97X131", (97, 131))]
)
def test_a_size_is_one_side_or_height_by_width(text, size):
    assert options._parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0x5", "-3", "1x2x3", "x", "12px", "١٢", "1" * 5000, "1e3", " 5"]
)
def test_another_size_is_refused(text):
    with pytest.raises(typer.BadParameter, match="size must be like 128 or 97x131"):
        options._parse_size(text)


@pytest.mark.parametrize("text", ["", "1/1", "-1/2", "2/1", "1", "1/2/3", "a/b", "0/0", "²/3"])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(typer.BadParameter, match="shard must be I/N"):
        options._parse_shard(text)


def test_the_last_of_many_shards_is_one():
    assert options._parse_shard("99999/100000") == (99999, 100000)
