"""What is printed: no text from outside is obeyed by a terminal or breaks a line."""

from __future__ import annotations

import json

import pytest
import typer

from mobilenet_hub.cli import output

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b1m\r\u202egpj.exe\nb"


class Terminal:
    """Standard output as a terminal."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def isatty(self):
        return True


def unsafe(text):
    """Whether a terminal would obey something in a text; rich's own colours are not meant."""
    return any(c in text for c in "\x07\x9b\r\u202e") or "\x1b]" in text or "\x1b[2J" in text


TERMINAL_OR_PIPE = pytest.mark.parametrize("terminal", [False, True])


def printing_to(monkeypatch, *, terminal):
    """To be called in a test, since `capsys` replaces standard output between fixtures and it."""
    if terminal:
        monkeypatch.setattr("sys.stdout", Terminal(output.sys.stdout))


@TERMINAL_OR_PIPE
def test_no_printing_function_lets_a_terminal_obey_what_it_prints(capsys, monkeypatch, terminal):
    printing_to(monkeypatch, terminal=terminal)
    output.print_line(HOSTILE)
    output.print_note(HOSTILE)
    output.print_error(HOSTILE)
    output.print_json({HOSTILE: [HOSTILE]}, indent=True)
    output.print_table(HOSTILE, [("name", "cyan"), ("#n", "")], [[HOSTILE, HOSTILE]])
    printed = capsys.readouterr()
    assert "owned" in printed.out and "owned" in printed.err
    assert not unsafe(printed.out)
    assert not unsafe(printed.err)


def test_results_keep_to_their_line_and_notes_may_have_several(capsys):
    output.print_line("a\nb")
    output.print_table("", [("one", ""), ("two", "")], [["a\nb", "c\td"]])
    output.print_note("a\nb")
    printed = capsys.readouterr()
    assert printed.out == "a\\nb\none\ttwo\na\\nb\tc\\td\n"
    assert printed.err == "a\nb\n"


def test_letters_of_all_languages_and_their_spaces_are_printed_as_they_are():
    name = "Zoë 日本\u202fשלום 😀.jpg"
    assert output.printable(name) == name


@TERMINAL_OR_PIPE
def test_json_is_what_was_meant_whatever_it_holds(capsys, monkeypatch, terminal):
    printing_to(monkeypatch, terminal=terminal)
    output.print_json({"id": HOSTILE})
    assert json.loads(capsys.readouterr().out) == {"id": HOSTILE}


def test_markup_of_rich_in_titles_and_cells_is_text(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal(output.sys.stdout))
    output.print_table("[red]in[/red] /a[/]", [("x", "")], [["[link=http://x]y[/link]"]])
    printed = capsys.readouterr().out
    assert "[red]in[/red] /a[/]" in printed
    assert "[link=http://x]y[/link]" in printed


@pytest.mark.parametrize(
    ("done", "failed", "strict", "code"),
    [(1, 0, True, 0), (1, 1, False, 0), (1, 1, True, 3), (0, 1, False, 1), (0, 0, False, 1)],
)
def test_the_counts_of_images_decide_the_exit_code(done, failed, strict, code):
    try:
        output.end(done, failed, strict=strict)
    except typer.Exit as stop:
        assert stop.exit_code == code
    else:
        assert code == 0


def test_numbers_that_json_does_not_know_are_null(capsys):
    output.print_json({"a": [float("nan"), 1.5], "b": (float("-inf"),)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None]}


NUMBERS = [("engine", ""), ("#images/s", ""), ("#from files/s", "")]


def test_numbers_and_short_words_are_never_broken(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal(output.sys.stdout))
    rows = [["onnxruntime", "12,345", "6,789"], ["a long sentence " * 9, "1", "2"]]
    for width in ("60", "32", "20"):
        monkeypatch.setenv("COLUMNS", width)
        output.print_table("", NUMBERS, rows)
        printed = capsys.readouterr().out
        assert {"onnxruntime", "12,345", "6,789"} <= set(printed.split())
    assert "images/s: 12,345" in printed


@TERMINAL_OR_PIPE
def test_groups_are_tables_of_their_own_on_a_terminal_alone(capsys, monkeypatch, terminal):
    printing_to(monkeypatch, terminal=terminal)
    output.print_groups("module", NUMBERS, {"one": [["a", "1", "2"]], "two": [["b", "3", "4"]]})
    printed = capsys.readouterr().out
    if terminal:
        assert printed.count("engine") == 2
    else:
        assert printed.splitlines()[1:] == ["one\ta\t1\t2", "two\tb\t3\t4"]
