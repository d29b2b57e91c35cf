"""The recipes of docs/scale.md, as they are written there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
from commands import environment
from pictures import write_pictures

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text("utf-8")


def block(containing):
    """The code block of the page that contains some text."""
    blocks = re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


@pytest.mark.slow
def test_the_spark_recipe_gives_the_embeddings_of_the_module(tmp_path, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    write_pictures(tmp_path / "photos" / "below", 5)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    try:
        names = {"spark": spark}
        exec(block("def embed(batches"), names)
        code = block("spark.read.format")
        code = code.replace("s3a://bucket/photos", str(tmp_path / "photos"))
        exec(code.replace("s3a://bucket/features", str(tmp_path / "features")), names)
        rows = {row["id"]: row for row in spark.read.parquet(str(tmp_path / "features")).collect()}
    finally:
        spark.stop()
    assert len(rows) == 6
    for record in hub.embed(tmp_path / "photos"):
        row = rows[f"file:{record.path}"]
        if record.ok:
            np.testing.assert_array_equal(np.float32(row["embedding"]), record.embedding)
            assert row["stage"] is None
        else:
            assert (row["embedding"], row["stage"], row["reason"]) == (
                None, record.stage, record.reason,
            )  # fmt: skip


def test_the_shard_recipe_makes_the_whole(tmp_path, monkeypatch):
    """The line of the Slurm script, once for each task, as a shell runs it."""
    import subprocess

    import pyarrow.parquet as pq

    write_pictures(tmp_path / "photos", 8)
    code = block("#SBATCH").replace("/data", str(tmp_path)).replace("srun mobilenet-hub", "$HUB")
    for task in range(3):
        variables = {
            "SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3",
            "HUB": f"{sys.executable} -m mobilenet_hub",
        }  # fmt: skip
        env = {**os.environ, **environment(), **variables}
        subprocess.run(["bash", "-c", code], env=env, check=True, capture_output=True)
    table = pq.read_table(tmp_path / "features")
    wanted = [str(tmp_path / "photos" / f"{index:04d}.jpg") for index in range(8)]
    assert sorted(table.column("id").to_pylist()) == wanted
