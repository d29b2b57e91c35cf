"""A run that dies at any one of its file operations: the next run makes it whole.

(`test_pipeline_faults` kills at instants; here no operation is missed.)
"""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil

import numpy as np
import pytest

import mobilenet_hub as hub
from commands import FORKSERVER
from mobilenet_hub.pipeline.results import Outcome, Results
from pictures import SMALL, write_pictures
from stored_rows import rows

FEATURES = 256


def embedding(identity):
    """Not the network's: quick, and each item's own."""
    return np.frombuffer(identity.encode().ljust(4 * FEATURES), "<u4").astype(np.float32)


def compute(_, done, items):
    for item in items:
        if done(item.id, item.stamp(), ""):
            yield Results(skipped=[item.id])
        else:
            outcome = Outcome(item.id, item.path, item.stamp())
            yield Results([outcome], embedding(item.id)[None])


def run(output, paths):
    source = [str(path) for path in paths]
    hub.embed_to(source, output, SMALL, executor=compute, part_items=3)


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
    monkeypatch.chdir(tmp_path)
    photos = write_pictures(tmp_path / "photos", 10)
    wanted = photos if output == "out" else photos[4:]  # a file drops what is named no more
    for number in itertools.count():
        here = f"{number}{output}"
        if before:
            run(here, photos[:before])
        process = FORKSERVER.Process(target=run_and_die, args=(here, wanted, number))
        process.start()
        process.join()
        assert process.exitcode in (0, 99)
        run(here, wanted)
        found = dict(rows(here))
        assert sorted(found) == [str(path) for path in wanted]
        for identity, row in found.items():
            np.testing.assert_array_equal(row, embedding(identity))
        assert not [path for path in tmp_path.rglob("*.part") if here in str(path)]
        if process.exitcode == 0:
            break
    assert number > 10
