"""The catalogue: which handles there are, and what they mean."""

from __future__ import annotations

import csv
import re

import pytest

from mobilenet_hub.catalog import find, modules
from mobilenet_hub.errors import MobileNetHubError, UnknownHandleError


def test_every_published_module_is_there_once():
    handles = list(modules())
    v1 = [h for h in handles if "/mobilenet_v1_" in h]
    v2 = [h for h in handles if "/imagenet/mobilenet_v2_" in h]
    preview = [h for h in handles if "/tf2-preview/" in h]
    assert (len(v1), len(v2), len(preview)) == (16 * 2 * 4, 22 * 2 * 5, 8)
    assert len(set(handles)) == len(handles) == 356


@pytest.mark.parametrize(
    "form",
    [
        "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/3",
        "http://tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/3",
        "tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/3",
        "google/imagenet/mobilenet_v2_035_96/feature_vector/3",
        " google/imagenet/mobilenet_v2_035_96/feature_vector/3/ ",
        "https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/3"
        "?tf-hub-format=compressed",
    ],
)
def test_a_handle_may_be_written_in_every_usual_form(form):
    record = find(form)
    assert record.handle == "google/imagenet/mobilenet_v2_035_96/feature_vector/3"
    assert record.url == "https://tfhub.dev/" + record.handle


@pytest.mark.parametrize(
    ("handle", "newest"),
    [
        ("google/imagenet/mobilenet_v2_140_224/classification", 5),
        ("https://tfhub.dev/google/imagenet/mobilenet_v1_025_128/feature_vector", 5),
        ("google/tf2-preview/mobilenet_v2/feature_vector", 4),
    ],
)
def test_without_a_version_the_newest_is_meant(handle, newest):
    assert find(handle).version == newest


@pytest.mark.parametrize(
    ("handle", "suggestion"),
    [
        ("google/imagenet/mobilenet_v2_35_96/feature_vector/3", "mobilenet_v2_035_96"),
        ("google/imagenet/mobilenet_v1_050_128/feature_vector/2", "feature_vector/3"),
        ("google/imagenet/mobilenet_v2_100_224/features", "mobilenet_v2_100_224/feature_vector"),
        ("mobilenet_v2_140_224", "google/imagenet/mobilenet_v2_140_224/classification"),
        ("google/imagenet/mobilenet_v2_100_224/feature_vector/9", "feature_vector/5"),
    ],
)
def test_an_unknown_handle_names_the_nearest(handle, suggestion):
    with pytest.raises(UnknownHandleError) as error:
        find(handle)
    assert any(suggestion in near for near in error.value.suggestions)
    assert all(find(near) for near in error.value.suggestions)
    assert str(error.value).endswith(f"Received: {handle!r}")
    assert isinstance(error.value, MobileNetHubError)


@pytest.mark.parametrize("nonsense", ["", "/", "x" * 10_000, "../../etc/passwd", "\0", 3, None])
def test_nonsense_is_refused_in_the_same_way(nonsense):
    with pytest.raises(UnknownHandleError):
        find(nonsense)


@pytest.mark.parametrize(
    ("handle", "momentum", "configurable", "module_format"),
    [
        ("google/imagenet/mobilenet_v1_100_224/feature_vector/1", 0.9997, False, "hub"),
        ("google/imagenet/mobilenet_v2_100_224/feature_vector/1", 0.997, False, "hub"),
        ("google/imagenet/mobilenet_v2_100_224/feature_vector/2", 0.997, False, "hub"),
        ("google/imagenet/mobilenet_v1_100_224/feature_vector/3", 0.99, True, "hub"),
        ("google/imagenet/mobilenet_v2_100_224/feature_vector/4", 0.99, True, "saved_model_2"),
        ("google/tf2-preview/mobilenet_v2/feature_vector/2", 0.997, False, "saved_model_2"),
    ],
)
def test_a_version_keeps_its_semantics(handle, momentum, configurable, module_format):
    record = find(handle)
    assert record.batch_norm_momentum == momentum
    assert record.configurable_momentum is configurable
    assert record.module_format == module_format


def test_v1_takes_any_size_from_version_3_on_and_v2_never():
    assert find("google/imagenet/mobilenet_v1_050_128/feature_vector/1").fixed_size
    assert not find("google/imagenet/mobilenet_v1_050_128/feature_vector/3").fixed_size
    assert find("google/imagenet/mobilenet_v2_050_128/feature_vector/5").fixed_size


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        del modules()["google/tf2-preview/mobilenet_v2/feature_vector/4"]


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        find("google/tf2-preview/mobilenet_v2/feature_vector").version = 7


def test_published_figures_are_those_of_the_table(shared):
    rows = list(csv.DictReader((shared / "published.csv").open()))
    assert len(rows) == 38
    by_key = {record.checkpoint_key: record.published for record in modules().values()}
    for row in rows:
        published = by_key.pop(row["network"])
        assert published.top1 == float(row["top1"])
        assert published.top5 == float(row["top5"])
        assert published.multiply_adds == float(row["multiply_adds_millions"])
        assert published.parameters == float(row["parameters_millions"])
    assert not by_key


def test_every_module_of_the_seed_pages_is_described_as_there(shared):
    """Handles, checkpoints, sizes and feature counts, read from the pages themselves."""
    text = "\n".join(path.read_text() for path in sorted((shared / "seeds").glob("*.txt")))
    handles = set(re.findall(r"tfhub\.dev/(google/[\w-]+/[\w-]+/\w+/\d)", text))
    assert len(handles) >= 48
    for handle in handles:
        assert find(handle).handle == handle
    pages = re.split(r"^(?:# (?:\d+\. |Module )|Module google)", text, flags=re.MULTILINE)[1:]
    assert len(pages) == 48
    for page in pages:
        record = find(re.search(r'hub\.(?:Module|KerasLayer)\("([^"]+)"', page)[1])
        assert f"`{record.checkpoint}`" in page or f" {record.checkpoint} " in page
        size = record.image_size
        assert re.search(rf"input size of\s+{size}x{size} pixels", page)
        features = re.search(r"`?num_features`? = (\d+)", page)
        assert features is None or int(features[1]) == record.num_features
        assert ("fixed to" in page) == record.fixed_size
        momentum = re.search(r"defaults to ([\d.]+) for this module", page)
        assert momentum is None or float(momentum[1]) == record.batch_norm_momentum
        assert ("_with_bn_hparams" in page) <= record.configurable_momentum


V2_130 = "google/imagenet/mobilenet_v2_130_224/classification"
PREVIEW = "google/tf2-preview/mobilenet_v2/feature_vector"


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        ("https://hub.tensorflow.google.cn/{}/5", f"{V2_130}/5"),
        ("https://tfhub.dev/{}/3?tf-hub-format=compressed", f"{V2_130}/3"),
        ("https://storage.googleapis.com/tfhub-modules/{}/2.tar.gz", f"{V2_130}/2"),
        ("https://storage.googleapis.com/tfhub-modules/{}/2.tar.gz?generation=1", f"{V2_130}/2"),
        ("https://www.kaggle.com/models/google/mobilenet-v2/TensorFlow2/130-224-classification/2",
         f"{V2_130}/5"),
        ("kaggle.com/models/google/mobilenet-v2/TensorFlow2/130-224-classification/1",
         f"{V2_130}/4"),
        ("https://kaggle.com/models/google/mobilenet-v2/frameworks/TensorFlow2/variations/"
         "130-224-classification/versions/2", f"{V2_130}/5"),
        ("https://www.kaggle.com/models/google/mobilenet-v2/frameworks/tensorFlow2/variations/"
         "130-224-classification?tfhub-redirect=true", f"{V2_130}/5"),
        ("google/mobilenet-v2/tensorFlow2/130-224-classification/2", f"{V2_130}/5"),
        ("google/mobilenet-v2/tensorFlow2/tf2-preview-feature-vector/4", f"{PREVIEW}/4"),
        ("google/mobilenet-v2/tensorFlow2/tf2-preview-feature-vector/2", f"{PREVIEW}/2"),
        ("google/mobilenet-v1/tensorFlow2/025-224-feature-vector/2",
         "google/imagenet/mobilenet_v1_025_224/feature_vector/5"),
    ],
)  # fmt: skip
def test_handles_of_every_place_the_modules_have_been_are_found(handle, expected):
    assert find(handle.format(V2_130)).handle == expected


@pytest.mark.parametrize(
    ("handle", "candidates"),
    [
        ("google/mobilenet-v2/tensorFlow2/130-224-classification/3",
         (f"{V2_130}/4", f"{V2_130}/5")),
        ("google/mobilenet-v2/tensorFlow2/tf2-preview-feature-vector/5",
         tuple(f"{PREVIEW}/{version}" for version in (1, 2, 3, 4))),
        ("google/mobilenet-v2/tensorFlow1/130-224-classification/1",
         tuple(f"{V2_130}/{version}" for version in (1, 2, 3))),
    ],
)  # fmt: skip
def test_a_version_of_kaggle_that_nobody_can_prove_is_refused_with_the_candidates(
    handle, candidates
):
    with pytest.raises(UnknownHandleError, match="choose one") as caught:
        find(handle)
    assert caught.value.suggestions == candidates
