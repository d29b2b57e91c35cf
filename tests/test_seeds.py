"""The code blocks of the documents that this library was made from run as they are written.

Only the import line differs: `import mobilenet_hub as hub`. Where a block writes `images = ...` for
"a batch of images", there is one. Modules whose weights are not on this machine run on weights made
for the test, put where fetched ones would be.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import keras_support  # noqa: F401  (how JAX compiles in tests)
import mobilenet_hub as hub
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.storage.store import is_here, keep
from places import SHARED

_FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BARE = re.compile(r"^\w+ = hub\..*?(?=\n\n)", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"^images = \.\.\.", re.MULTILINE)
_HANDLE = re.compile(r"\"(https://tfhub\.dev/[^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A code block, with those before it in its document."""

    document: str
    code: str
    before: tuple[str, ...]

    @property
    def handle(self) -> str:
        """The one module that the block names."""
        (handle,) = set(_HANDLE.findall(self.code))
        return handle

    def __str__(self) -> str:
        what = "train" if self.trains else "use"
        return f"{self.document}-{hub.find(self.handle).handle.replace('/', '-')}-{what}"

    @property
    def trains(self) -> bool:
        """Whether it needs Keras."""
        return "KerasLayer" in self.code or "trainable=True" in self.code


def _blocks() -> Iterator[Block]:
    for path in sorted((SHARED / "seeds").glob("*.txt")):
        name = path.name.partition("_")[0]
        for document in re.split(r"^# \d+\. \[", path.read_text("utf-8"), flags=re.MULTILINE):
            codes = (_FENCED if "```python" in document else _BARE).findall(document)
            for index, code in enumerate(codes):
                yield Block(name, code, tuple(codes[:index]))


BLOCKS = list(_blocks())
USE = [block for block in BLOCKS if not block.trains]
TRAIN = [block for block in BLOCKS if "trainable=True, tags" in block.code]
LAYERS = [block for block in BLOCKS if "KerasLayer" in block.code]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, with weights in it for the modules that need some."""
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)

    def provide(handle):
        info = hub.find(handle)
        if not is_here(info):
            keep(random_weights(info.network), info)
        return info

    yield provide
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def run(code, **names):
    """Run a block; all names it leaves."""
    exec(_PLACEHOLDER.sub("images = given_images", code), names)
    return names


def batch(info):
    return np.random.default_rng(0).random((2, info.image_size, info.image_size, 3), np.float32)


@pytest.mark.skipif(not BLOCKS, reason="the reference material is not beside this checkout")
def test_every_block_of_the_documents_is_found():
    assert len(BLOCKS) == 92
    assert (len(USE), len(TRAIN), len(LAYERS)) == (47, 44, 1)


@pytest.mark.parametrize("block", USE, ids=str)
def test_modules_are_used_as_written(block, cache):
    info = cache(block.handle)
    names = run(block.code, hub=hub, given_images=batch(info))
    assert [names["height"], names["width"]] == [info.image_size] * 2
    if info.task == "classification":
        assert names["logits"].shape == (2, 1001)
    else:
        assert names["features"].shape == (2, info.num_features)
    signature = "image_classification" if "logits" in names else "image_feature_vector"
    named = names["module"](names["images"], signature=signature)
    np.testing.assert_array_equal(named, names.get("logits", names.get("features")))


def keras_or_skip():
    """Keras on the backend that is asked for; its eager mode is slow on JAX."""
    return pytest.importorskip("keras", reason="needs the extra [keras]")


@pytest.mark.parametrize("block", TRAIN, ids=str)
def test_modules_are_fine_tuned_as_written(block, cache):
    keras = keras_or_skip()
    info = cache(block.handle)
    images = keras.ops.convert_to_tensor(batch(info))
    names = run(block.code, hub=hub, images=images)
    output = names.get("logits", names.get("features"))
    assert keras.ops.is_tensor(output)
    assert output.shape == (2, 1001 if info.task == "classification" else info.num_features)
    module = names["module"]
    before = hub.Module(block.handle).weights.tensors
    after = module.current_weights().tensors
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in after if "/moving_" in name}
    for other in ("image_feature_vector", "image_classification")[: 1 + ("logits" in names)]:
        assert f"{other}_with_bn_hparams" in module.get_signature_names()


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("block", LAYERS, ids=str)
def test_layers_are_used_as_written(block, cache, trainable):
    keras = keras_or_skip()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf
    else:
        tf = SimpleNamespace(keras=keras)
    info = cache(block.handle)
    code = block.code
    assert "trainable=False),  # Can be True, see below." in code
    if trainable:
        code = code.replace("trainable=False", "trainable=True")
    model = run(code, hub=hub, tf=tf, num_classes=2)["m"]
    assert model.output_shape == (None, 2)
    before = model.layers[0].current_weights()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(batch(info), np.array([0, 1]), verbose=0)
    assert (model.layers[0].current_weights() is before) == (not trainable)
