"""On a real Ray cluster of this machine: the same rows as without it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.dataset.formats import read_rows
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.ray import Embedder, make_executor
from pictures import SIZE, SMALL, SMALL_CLASSIFIER, encoded, write_pictures

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    from commands import environment

    env = {"PYTHONPATH": environment()["PYTHONPATH"], "MOBILENET_HUB_OFFLINE": "1"}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": env}
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def module():
    return hub.Module(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 70)
    (tmp_path / "photos" / "0003.jpg").write_bytes(b"no image")
    (tmp_path / "photos" / os.fsdecode(b"odd \xff.jpg")).write_bytes(encoded(99))
    return tmp_path


def worker_pids():
    """Processes that Ray named after our worker."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"ray::_Worker")
    ]


def contents(output):
    return [row for batch in read_rows(output) for row in batch.to_pylist()]


def test_a_ray_cluster_writes_the_very_files_that_threads_write(cluster, folder, module):
    settings = {"size": SIZE, "content_hash": True, "dimensions": True}
    source = "photos"
    local = embed_to(source, folder / "local", module, **settings, part_items=20)
    executor = make_executor(SMALL, module)
    far = embed_to(source, folder / "far", module, **settings, part_items=20, executor=executor)
    assert (far.counts, far.rows, far.failures) == (local.counts, 70, 1)
    for part in (folder / "local").glob("*.*"):
        assert (folder / "far" / part.name).read_bytes() == part.read_bytes(), part.name
    again = embed_to(source, folder / "far", module, **settings, part_items=20, executor=executor)
    assert (again.counts.done, again.counts.skipped) == (0, 71)


def test_a_worker_that_is_killed_costs_nothing(cluster, folder, module):
    write_pictures(folder / "photos", 300, start=100)
    source, settings = "photos", {"size": SIZE}
    killed = []

    def executor(*arguments):
        for results in make_executor(SMALL, module)(*arguments):
            if not killed:
                killed.append(worker_pids()[0])
                os.kill(killed[0], signal.SIGKILL)
            yield results

    embed_to(source, folder / "local", module, **settings)
    embed_to(source, folder / "far", module, **settings, executor=executor)
    assert killed
    assert contents(folder / "far") == contents(folder / "local")


def test_workers_with_other_weights_are_refused(cluster, folder, module):
    from mobilenet_hub.errors import WeightsError

    other = hub.Module(SMALL, weights="random")
    with pytest.raises(WeightsError, match="a worker has other weights"):
        embed_to(
            "photos", folder / "far", other, size=SIZE,
            executor=make_executor(SMALL, other),
        )  # fmt: skip


def test_embedder_is_a_transform_for_ray_data(cluster, folder, module):
    for path in (folder / "photos").glob("odd*"):
        path.unlink()  # Ray Data itself reads no names that are not UTF-8
    dataset = ray.data.read_binary_files(str(folder / "photos"), include_paths=True)
    dataset = dataset.map_batches(
        Embedder, fn_constructor_kwargs={"module": SMALL, "size": SIZE}, batch_size=16,
        num_cpus=1, compute=ray.data.ActorPoolStrategy(size=1),
    )  # fmt: skip
    rows = {Path(row["id"]).name: row for row in dataset.take_all()}
    local = list(hub.embed(folder / "photos", module, size=SIZE))
    assert len(rows) == len(local) == 70
    for record in local:
        row = rows[Path(record.path).name]
        if record.ok:
            np.testing.assert_array_equal(row["embedding"], record.embedding)
            assert row["stage"] == row["reason"] == ""
        else:
            assert np.isnan(row["embedding"]).all()
            assert (row["stage"], row["reason"]) == (record.stage, record.reason)


def test_embedder_takes_paths_and_adds_labels(folder):
    embedder = Embedder(SMALL_CLASSIFIER, size=SIZE, labels=2)
    paths = np.array(["photos/0001.jpg", "photos/0003.jpg"], object)
    result = embedder({"path": paths})
    assert result["label_indices"][0].min() >= 0
    assert result["label_indices"][1].tolist() == [-1, -1]
    assert result["id"].tolist() == paths.tolist()
    with pytest.raises(SourceError, match="Received: image"):
        embedder({"image": np.zeros((1, 4, 4, 3))})


@pytest.mark.parametrize("column", ["bytes", "path"])
def test_embedder_fails_a_null_and_nothing_else(folder, column):
    good = encoded(1) if column == "bytes" else "photos/0001.jpg"
    values = np.array([good, None, good], object)
    ids = np.array(["a", "b", None], object)
    result = Embedder(SMALL, size=SIZE)({column: values, "id": ids})
    assert result["stage"].tolist() == ["", "read", ""]
    assert result["reason"][1] == "null instead of an image"
    assert np.isfinite(result["embedding"][[0, 2]]).all()
