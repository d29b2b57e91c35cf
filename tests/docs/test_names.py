"""What the documents name is there: files, links, commands, options, functions, variables."""

from __future__ import annotations

import re

import pytest
import typer

import mobilenet_hub as hub
from mobilenet_hub.cli import make_app
from places import ROOT

PACKAGE = ROOT / "src" / "mobilenet_hub"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMANDS = typer.main.get_command(make_app()).commands
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def spans(document):
    """What stands between backticks, in a line or in a block."""
    text = re.sub(r"What is still to come.*?\n\n", "", document.read_text("utf-8"), flags=re.S)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return inline, blocks


def is_there(path):
    """In the checkout, in the package, or somewhere below it where a room was named before."""
    folders = (PACKAGE, ROOT / "tests", ROOT / "benchmarks")
    return (ROOT / path).exists() or any(any(f.rglob(path.rstrip("/"))) for f in folders)


@each_document
def test_files_that_are_named_are_there(document):
    inline, _ = spans(document)
    paths = {
        path
        for span in inline
        for path in re.findall(r"^(?:\.?[\w-]+/)*[\w-]+\.(?:py|md|toml)$|^(?:[\w-]+/)+$", span)
    }
    known = {"photos/", "examples/", "features/"}  # of the reader's own
    assert {path for path in paths - known if not is_there(path)} == set()


@each_document
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        other = (document.parent / path) if path else document
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in anchors, target


def commands_of(document):
    """Every command line of ours, from its first word on."""
    inline, blocks = spans(document)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for text in [*lines, *inline]:
        for line in re.findall(r"(?:^|[\s/;&])mobilenet-hub ([^|;&#`]*)", text):
            yield line.split()


@each_document
def test_commands_and_their_options_are_there(document):
    for words in commands_of(document):
        command = COMMANDS.get(words[0]) if words else None
        if not words or words[0].startswith("-"):
            continue
        assert command is not None, words
        if hasattr(command, "commands"):
            group, command = command, command.commands.get(words[1])
            assert command is not None, (group.name, words)
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {option for p in command.params for option in p.secondary_opts} | {"--help"}
        named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert named - known == set(), words


def test_every_command_is_in_a_document():
    text = "".join(document.read_text("utf-8") for document in DOCUMENTS)
    assert {
        name for name in COMMANDS if not re.search(rf"(`|mobilenet-hub ){name}\b", text)
    } == set()


@each_document
def test_what_is_imported_as_hub_has_these_names(document):
    text = document.read_text("utf-8")
    names = set(re.findall(r"(?<![\w-])hub\.([A-Za-z_]+)", text))
    rooms = {path.stem for path in PACKAGE.iterdir()}
    assert names - set(hub.__all__) - rooms == set()


def test_variables_of_the_environment_are_those_that_are_read():
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    documents = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    pattern = r"MOBILENET_HUB_[A-Z_]+"
    assert set(re.findall(pattern, documents)) == set(re.findall(pattern, source))


def test_every_room_is_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = {path for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))}
    assert {room.name for room in rooms - {PACKAGE / "data"} if room.stem not in text} == set()
