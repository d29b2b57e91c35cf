"""A run that dies at any one of its file operations: the next run makes it whole.

(`test_pipeline_faults` kills at instants; here no operation is missed.)
"""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
from commands import FORKSERVER
from mobilenet_hub.pipeline import job
from mobilenet_hub.pipeline.dataset.formats import read_rows
from mobilenet_hub.pipeline.processor import Settings
from mobilenet_hub.pipeline.results import Block, Row
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import SMALL, write_pictures

FEATURES = 256


def embedding(identity):
    """Not the network's: quick, and each item's own."""
    return np.frombuffer(identity.encode().ljust(4 * FEATURES), "<u4").astype(np.float32)


def compute(_, done, items):
    for item in items:
        block = Block()
        if done(item.id, item.stamp(), ""):
            block.skipped += 1
        else:
            block.entries.append(Row(item.id, item.path, item.stamp(), "", 0, 0))
            block.features = embedding(item.id)[None]
        yield block


def run(output, paths):
    source = open_sources([str(path) for path in paths])
    job.embed_to(output, source, hub.Module(SMALL), Settings(), runner=compute, part_items=3)


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
        rows = [row for batch in read_rows(Path(here)) for row in batch.to_pylist()]
        assert sorted(row["id"] for row in rows) == [str(path) for path in wanted]
        for row in rows:
            np.testing.assert_array_equal(row["embedding"], embedding(row["id"]))
        assert not [path for path in tmp_path.rglob("*.part") if here in str(path)]
        if process.exitcode == 0:
            break
    assert number > 10
