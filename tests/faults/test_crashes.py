"""A run that dies at any one of its file operations: the next run makes it whole."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil

import numpy as np
import pytest

import mobilenet_hub as hub
from commands import forking
from mobilenet_hub.pipeline.results import Outcome, Results
from pictures import SMALL, write_pictures
from stored_rows import rows

FEATURES = 256
BAD = "photos/0007.jpg"


def embedding(identity):
    """Not the network's: quick, and each item's own."""
    return np.frombuffer(identity.encode().ljust(4 * FEATURES), "<u4").astype(np.float32)


def compute(_, done, items):
    for item in items:
        if done(item.id, item.stamp(), ""):
            yield Results(skipped=[item.id])
        elif item.id == BAD:
            yield Results([Outcome(item.id, item.path, item.stamp(), stage="decode", reason="bad")])
        else:
            outcome = Outcome(item.id, item.path, item.stamp())
            yield Results([outcome], embedding(item.id)[None])


def run(output, paths):
    hub.embed_to(paths, output, SMALL, executor=compute, part_items=3)


def run_and_die(output, paths, number):
    """Stop, as the kernel would, before the `number`-th operation on files."""
    count = itertools.count()

    def dying(operation):
        def checked(*arguments, **options):
            if next(count) == number:
                os._exit(99)
            return operation(*arguments, **options)

        return checked

    for name in ("replace", "rename", "unlink", "mkdir"):
        setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
    os.fsync, shutil.rmtree = dying(os.fsync), dying(shutil.rmtree)
    run(output, paths)


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 6])
@pytest.mark.parametrize("output", ["out", "out.parquet", "out.npy", "out.csv"])
def test_a_run_that_died_before_any_file_operation_is_made_whole(
    tmp_path, monkeypatch, output, before
):
    """Beginning, or going on: then a photo has changed, and rows are taken out of a part.

    What a folder holds of photos that are not named any more stays; a file drops it.
    """
    monkeypatch.chdir(tmp_path)
    photos = [str(path.relative_to(tmp_path)) for path in write_pictures(tmp_path / "photos", 10)]
    assert BAD in photos
    named = [*photos[1:2], *photos[4:]] if before else photos
    wanted = {*photos[:before], *named} if output == "out" else {*named}
    for number in itertools.count():
        here = f"{number}{output}"
        if before:
            run(here, photos[:before])
            os.utime(photos[1], (number, number))
            os.utime(photos[5], (number, number))
        process = forking().Process(target=run_and_die, args=(here, named, number))
        process.start()
        process.join()
        assert process.exitcode in (0, 99)
        run(here, named)
        found = dict(rows(here))
        assert {*found} == wanted - {BAD}
        for identity, row in found.items():
            np.testing.assert_array_equal(row, embedding(identity))
        assert not [path for path in tmp_path.rglob("*.part") if here in str(path)]
        if process.exitcode == 0:
            break
    assert number > 10
