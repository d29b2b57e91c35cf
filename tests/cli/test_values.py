"""Values of options: what is read of them, and what is refused."""

from __future__ import annotations

import pytest
import typer

from mobilenet_hub.cli import values


@pytest.mark.parametrize(
    ("text", "size"), [("128", (128, 128)), ("97x131", (97, 131)), ("97X131", (97, 131))]
)
def test_a_size_is_one_side_or_height_by_width(text, size):
    assert values.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0x5", "-3", "1x2x3", "x", "12px", "١٢", "1" * 5000, "1e3", " 5"]
)
def test_another_size_is_refused(text):
    with pytest.raises(typer.BadParameter, match="size must be like 128 or 97x131"):
        values.parse_size(text)


@pytest.mark.parametrize("text", ["", "1/1", "-1/2", "2/1", "1", "1/2/3", "a/b", "0/0", "²/3"])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(typer.BadParameter, match="shard must be I/N"):
        values.parse_shard(text)


def test_the_last_of_many_shards_is_one():
    assert values.parse_shard("99999/100000") == (99999, 100000)
