"""SavedModels and TF1 hub modules hold what their checkpoint holds."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from slim_networks import (
    assert_equal,
)


@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "mobilenet_v1_050_128"])
def test_every_form_of_a_reference_network_holds_the_same_tensors(shared, name):
    folder = shared / "oracle" / name
    checkpoint = read_checkpoint(folder / "model.ckpt")
    weights = from_tensors(checkpoint.tensors)  # complete, or it raises
    assert name.startswith(weights.network.family)
    forms = [read_saved_model(folder / "hub_module")]
    assert forms[0].format == "TF1 hub module"
    if (folder / "saved_model_2").exists():
        forms.append(read_saved_model(folder / "saved_model_2"))
        assert forms[1].format == "TF2 SavedModel"
    for form in forms:
        assert_equal(form.tensors, checkpoint.tensors)


@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "mobilenet_v1_050_128"])
def test_a_reference_network_computes_what_the_original_computed(shared, name):
    from mobilenet_hub.graph import build_graph
    from mobilenet_hub.runtime import Runner, make_engine
    from mobilenet_hub.settings import Compute

    folder = shared / "oracle" / name
    weights = from_tensors(read_saved_model(folder / "hub_module").tensors)

    def build(spec):
        return build_graph(
            weights, "classification", endpoints=spec.endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width),
        )  # fmt: skip

    run = Runner(build, make_engine(Compute("onnxruntime")))
    arrays = np.load(folder / "io.npz")
    # Random weights: ill-conditioned in float32.
    tolerance = 5e-4 * np.abs(arrays["logits"]).max()
    logits = run(arrays["images"])["default"]
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=tolerance)
    if (folder / "variable_size.npz").exists():
        sizes = np.load(folder / "variable_size.npz")
        for size in ("150x150", "97x131", "224x224"):
            logits = run(sizes[f"{size}/images"])["default"]
            np.testing.assert_allclose(logits, sizes[f"{size}/logits"], rtol=0, atol=1e-4)
