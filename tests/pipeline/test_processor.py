"""Reading, decoding and computing a batch."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.pipeline.parallel import ordered_map
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.sessions import Worker
from mobilenet_hub.pipeline.sources.items import BytesItem
from pictures import SIZE, encoded, picture


def test_the_size_of_a_picture_is_that_which_people_see(module):
    turned = picture(0, (48, 40))
    exif = turned.getexif()
    exif[0x0112] = 6
    import io

    files = {}
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        file = io.BytesIO()
        turned.save(file, kind, **({} if kind == "BMP" else {"exif": exif}))
        files[kind] = file.getvalue()
    processor = Processor(module, settings_for(module, {"size": SIZE}, dimensions=True))
    rows = processor([BytesItem(kind, kind, data) for kind, data in files.items()]).rows
    sizes = {row.id: (row.width, row.height) for row in rows}
    assert sizes == {"JPEG": (40, 48), "PNG": (40, 48), "WEBP": (40, 48), "BMP": (48, 40)}


def test_an_error_of_the_engine_comes_through(module, monkeypatch):
    processor = Processor(module, settings_for(module, {"size": SIZE}))

    def broken(*arguments):
        raise RuntimeError("the engine broke")

    monkeypatch.setattr(Worker, "run", broken)
    with pytest.raises(RuntimeError, match="the engine broke"):
        processor([BytesItem("x", "x", encoded(0))])


def test_many_threads_may_share_one_processor(module):
    processor = Processor(module, settings_for(module, {"size": SIZE}))
    batches = [[BytesItem(f"{c}/{i}", "", encoded(c * 7 + i)) for i in range(7)] for c in range(12)]
    alone = [processor(batch).features for batch in batches]
    for results, expected in zip(ordered_map(processor, batches, threads=4), alone, strict=True):
        np.testing.assert_array_equal(results.features, expected)


def test_a_decoder_that_raises_anything_else_fails_one_item(module, monkeypatch):
    processor = Processor(module, settings_for(module, {"size": SIZE}))

    def broken(*arguments, **options):
        raise KeyError("surprise")

    monkeypatch.setattr("mobilenet_hub.pipeline.processor.preprocess", broken)
    (outcome,) = processor([BytesItem("x", "x", encoded(0))]).outcomes
    assert outcome.reason == "unexpected KeyError: 'surprise'"
