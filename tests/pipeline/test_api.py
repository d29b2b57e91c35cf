"""The pipeline as Python sees it: every item once, in order, its result its own."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import mobilenet_hub as hub
from commands import python
from mobilenet_hub.errors import InputError, MissingWeightsError, SourceError, UnknownHandleError
from mobilenet_hub.images import Preprocessing
from mobilenet_hub.pipeline import Classification, Embedding, Failure, classify, embed
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.parallel import batched, ordered_map
from mobilenet_hub.pipeline.sources.items import BytesItem
from pictures import SIZE, SMALL, SMALL_CLASSIFIER, encoded, write_pictures


@pytest.fixture(scope="module")
def classifier():
    return hub.Module(SMALL_CLASSIFIER)


def by_hand(module, data, signature="image_feature_vector"):
    """An image alone, through `Module` itself."""
    return module(Preprocessing(*SIZE)(data)[None], signature=signature)[0]


def test_embeddings_are_the_modules_own_in_the_order_of_the_source(tmp_path, module):
    paths = write_pictures(tmp_path, 23)
    records = list(embed(tmp_path, module, size=SIZE))
    assert [record.path for record in records] == [str(path) for path in paths]
    assert all(isinstance(record, Embedding) and record.ok for record in records)
    expected = np.stack([by_hand(module, path.read_bytes()) for path in paths])
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose([r.embedding for r in records], expected, atol=1e-4)


def test_a_row_is_the_same_to_the_last_bit_wherever_it_stands(module):
    items = [(str(seed), encoded(seed)) for seed in range(21)]
    alone = {n: next(embed([(n, data)], module, size=SIZE)).embedding for n, data in items}
    for shift in (0, 1, 5):
        for record in embed(items[shift:], module, size=SIZE, threads=3):
            np.testing.assert_array_equal(record.embedding, alone[record.id])


def test_failures_take_no_row_and_shift_none(module):
    values = [(f"{i}", encoded(i) if i % 3 else b"not an image") for i in range(20)]
    records = list(embed(values, module, size=SIZE))
    assert [record.id for record in records] == [name for name, _ in values]
    for record, (_, data) in zip(records, values, strict=True):
        if data == b"not an image":
            assert isinstance(record, Failure)
            assert (record.ok, record.stage) == (False, "decode")
            assert "not a JPEG" in record.reason
        else:
            np.testing.assert_allclose(record.embedding, by_hand(module, data), atol=1e-4)


def test_classes_are_softmax_of_the_modules_logits(classifier):
    values = [(f"{i}", encoded(i)) for i in range(9)]
    for record, (name, data) in zip(
        classify(values, classifier, top_k=3, size=SIZE), values, strict=True
    ):
        assert isinstance(record, Classification)
        logits = by_hand(classifier, data, "image_classification").astype(np.float64)
        scores = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-scores)[:3]
        assert record.id == name
        assert [label.index for label in record.labels] == order.tolist()
        assert [label.name for label in record.labels] == [hub.imagenet_labels()[i] for i in order]
        np.testing.assert_allclose([label.score for label in record.labels], scores[order], 1e-4)


def test_embeddings_may_carry_labels_at_no_change_of_theirs(module, classifier):
    values = [(f"{i}", encoded(i)) for i in range(9)]
    plain = list(embed(values, module, size=SIZE))
    labelled = list(embed(values, classifier, labels=2, size=SIZE))
    classes = list(classify(values, classifier, top_k=2, size=SIZE))
    for one, two, three in zip(plain, labelled, classes, strict=True):
        np.testing.assert_allclose(one.embedding, two.embedding, atol=1e-5)
        assert one.labels == ()
        assert [label.index for label in two.labels] == [label.index for label in three.labels]


def test_resample_tf1_gives_the_modules_own_on_float_images(module):
    data = encoded(1, size=(80, 64))
    (record,) = embed([("x", data)], module, size=SIZE, resample="tf1", crop="slim")
    pixels = Preprocessing(*SIZE, "slim", "tf1")(data)
    np.testing.assert_allclose(record.embedding, module(pixels[None])[0], atol=1e-4)


def test_l2_normalization_makes_length_one_and_leaves_zero_alone(module):
    (record,) = embed([("x", encoded(1))], module, size=SIZE, normalize="l2")
    assert np.linalg.norm(record.embedding) == pytest.approx(1, abs=1e-6)
    rows = np.array([[3, 4], [0, 0]], np.float32)
    np.testing.assert_array_equal(l2_normalized(rows), np.float32([[0.6, 0.8], [0, 0]]))


def test_what_cannot_work_is_refused_before_the_first_record(tmp_path, module):
    with pytest.raises(SourceError):
        embed("nowhere/", module)
    with pytest.raises(UnknownHandleError):
        embed(tmp_path, "google/imagenet/mobilenet_v9")
    with pytest.raises(MissingWeightsError):
        embed(tmp_path, "google/imagenet/mobilenet_v2_050_96/feature_vector/5")
    with pytest.raises(InputError, match="labels need a module that classifies"):
        embed(tmp_path, module, labels=1)
    with pytest.raises(InputError, match="is fixed to 224"):
        embed(tmp_path, "google/imagenet/mobilenet_v2_035_224/feature_vector/5", size=SIZE)
    with pytest.raises(InputError, match="Received: 'l1'"):
        embed(tmp_path, module, normalize="l1")
    with pytest.raises(InputError, match="top_k"):
        classify(tmp_path, top_k=0)


def test_no_items_are_no_records(tmp_path, module):
    assert list(embed(tmp_path, module)) == []


def test_results_come_in_order_however_long_each_takes():
    def slow(value):
        time.sleep(0.01 * (value % 3))
        return value

    assert list(ordered_map(slow, range(40), threads=4)) == list(range(40))


def test_a_slow_consumer_holds_the_source_back():
    taken = []

    def source():
        for value in range(1000):
            taken.append(value)
            yield value

    results = ordered_map(lambda value: value, source(), threads=2)
    for expected in range(50):
        assert next(results) == expected
        assert len(taken) <= expected + 1 + 4 * 2
    results.close()
    assert len(taken) < 100


def test_closing_ends_the_work_and_its_threads(module):
    before = threading.active_count()
    records = embed(((str(i), encoded(i % 5)) for i in range(10_000)), module, size=SIZE)
    next(records)
    records.close()
    assert threading.active_count() == before


def test_an_error_of_the_source_comes_through_and_ends_the_threads(module):
    before = threading.active_count()

    def source():
        for i in range(40):
            yield str(i), encoded(i)
        raise ZeroDivisionError("the source broke")

    with pytest.raises(ZeroDivisionError, match="the source broke"):
        list(embed(source(), module, size=SIZE))
    assert threading.active_count() == before


def test_large_images_in_memory_wait_in_small_batches():
    items = [BytesItem(str(i), "", b"x" * (3 << 20)) for i in range(7)]
    assert [len(batch) for batch in batched(items, 16)] == [3, 3, 1]
    assert [len(batch) for batch in batched([BytesItem("", "", b"")] * 35, 16)] == [16, 16, 3]


def test_the_pipeline_does_not_load_what_it_does_not_use(tmp_path):
    write_pictures(tmp_path, 1)
    code = (
        "import sys, mobilenet_hub.pipeline as p;"
        f"list(p.embed({str(tmp_path)!r}, {SMALL!r}, size={SIZE}));"
        "print([m for m in ('pyarrow', 'pandas', 'fsspec', 'rich', 'ray') if m in sys.modules])"
    )
    assert python(code).strip() == "[]"
