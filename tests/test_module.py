"""`hub.Module`: real weights, the seeds' signatures, tensorflow_hub's manners."""

from __future__ import annotations

import copy
import importlib.util
import os
import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import (
    InputError,
    InputTypeError,
    MissingWeightsError,
    OutputError,
    SignatureError,
    TagsError,
)
from mobilenet_hub.weights.storage.origins import BUNDLED
from places import DATA, EXAMPLES

REFERENCE = np.load(DATA / "real_weights_inference.npz")
SMALL = "google/imagenet/mobilenet_v1_025_224/classification"


def reference_images():
    return np.random.RandomState(0).rand(4, 224, 224, 3).astype(np.float32)


@pytest.fixture(scope="module")
def module():
    return hub.Module(f"https://tfhub.dev/{SMALL}/3")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("key", BUNDLED)
def test_features_and_endpoints_equal_the_original_networks(key, engine):
    module = hub.Module(f"google/imagenet/{key}/feature_vector/3", engine=engine)
    outputs = module(reference_images(), signature="image_feature_vector", as_dict=True)
    np.testing.assert_allclose(outputs["default"], REFERENCE[f"{key}/features"], atol=1e-4)
    endpoints = [n for n in REFERENCE.files if n.startswith(f"{key}/") and n.endswith("/shape")]
    assert len(endpoints) == len(outputs) - 1
    for name in endpoints:
        endpoint = name.removeprefix(f"{key}/endpoints/").removesuffix("/shape")
        value = outputs[f"{module.weights.network.scope}/{endpoint}"]
        assert value.shape[1:] == tuple(REFERENCE[name])
        means = REFERENCE[name.replace("/shape", "/channel_means")]
        np.testing.assert_allclose(value.mean((0, 1, 2)), means, atol=1e-4)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_logits_equal_the_original_network(engine):
    module = hub.Module("google/imagenet/mobilenet_v2_140_224/classification/3", engine=engine)
    logits = module(reference_images())
    assert logits.shape == (4, 1001)
    np.testing.assert_allclose(logits, REFERENCE["mobilenet_v2_140_224/logits"], atol=1e-4)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_the_tf2_preview_modules_are_v2_100_224(version):
    module = hub.Module(
        f"https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/{version}"
    )
    np.testing.assert_allclose(
        module(reference_images()), REFERENCE["mobilenet_v2_100_224/features"], atol=1e-4
    )


@pytest.mark.parametrize(
    ("version", "names"),
    [
        (1, ["default", "image_classification", "image_feature_vector"]),
        (
            3,
            [
                "default",
                "image_classification",
                "image_classification_with_bn_hparams",
                "image_feature_vector",
                "image_feature_vector_with_bn_hparams",
            ],
        ),
    ],
)
def test_signatures_are_those_of_the_version(version, names):
    assert hub.Module(f"{SMALL}/{version}").get_signature_names() == names


def test_feature_vector_modules_do_not_classify():
    module = hub.Module("google/imagenet/mobilenet_v2_035_224/feature_vector/2")
    assert module.get_signature_names() == ["default", "image_feature_vector"]
    with pytest.raises(SignatureError, match=r"Unknown signature image_classification in"):
        module(reference_images(), signature="image_classification")


def test_a_momentum_may_be_passed_and_changes_nothing_in_inference(module):
    images = reference_images()
    features = module(
        {"images": images, "batch_norm_momentum": 0.997},
        signature="image_feature_vector_with_bn_hparams",
    )
    np.testing.assert_array_equal(features, module(images, signature="image_feature_vector"))
    np.testing.assert_array_equal(module({"images": images}), module(images))


@pytest.mark.parametrize(
    ("inputs", "signature"),
    [
        ({"images": 0, "batch_norm_momentum": 0.9}, "image_feature_vector"),
        ({"images": 0}, "image_feature_vector_with_bn_hparams"),
        ({"images": 0, "batch_norm_momentum": 9}, "image_feature_vector_with_bn_hparams"),
        ({"pictures": 0}, None),
        ({"images": 0, "batch_norm_momentum": None}, "image_feature_vector_with_bn_hparams"),
        ({"images": 0, "batch_norm_momentum": np.ones(2)}, "image_feature_vector_with_bn_hparams"),
    ],
)
def test_inputs_of_another_signature_are_refused(module, inputs, signature):
    with pytest.raises(InputError, match="Received"):
        module(inputs, signature=signature)


def test_a_signature_describes_its_inputs_and_outputs(module):
    inputs = module.get_input_info_dict("image_feature_vector_with_bn_hparams")
    assert inputs["images"].get_shape() == (None, None, None, 3)
    assert inputs["batch_norm_momentum"].get_shape() == ()
    assert not inputs["images"].is_sparse
    outputs = module.get_output_info_dict("image_classification")
    assert outputs["default"].get_shape() == (None, 1001)
    assert outputs["MobilenetV1/Conv2d_13_pointwise"].get_shape() == (None, None, None, 256)
    fixed = hub.Module("google/imagenet/mobilenet_v2_035_224/feature_vector/3")
    assert fixed.get_input_info_dict()["images"].get_shape() == (None, 224, 224, 3)
    shape = fixed.get_output_info_dict("image_feature_vector")["MobilenetV2/layer_18/output"].shape
    assert shape == (None, 7, 7, 112)


def test_image_size_and_channels_are_known_without_weights():
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_050_96/feature_vector/3"
    assert hub.get_expected_image_size(handle) == [96, 96]
    assert hub.get_num_image_channels(handle) == 3
    module = hub.Module(handle, weights="random")
    assert hub.get_expected_image_size(module) == [96, 96]


def test_outputs_can_be_chosen(module):
    names = ["MobilenetV1/Conv2d_0", "default"]
    outputs = module(reference_images()[:1], as_dict=True, outputs=names)
    assert list(outputs) == names
    with pytest.raises(OutputError, match="There is no output named 'Conv2d_0'"):
        module(reference_images()[:1], as_dict=True, outputs=["Conv2d_0"])


def test_variable_size_modules_take_any_size(module):
    assert module(np.zeros((2, 97, 131, 3), np.float32)).shape == (2, 1001)
    fixed = hub.Module(f"{SMALL}/1")
    with pytest.raises(InputError, match=r"fixed to 224x224.*Received: shape \[2, 97, 131, 3\]"):
        fixed(np.zeros((2, 97, 131, 3), np.float32))


def test_an_empty_batch_gives_empty_outputs(module):
    images = np.zeros((0, 224, 224, 3), np.float32)
    assert module(images).shape == (0, 1001)
    outputs = module(images, as_dict=True)
    assert outputs["MobilenetV1/Conv2d_0"].shape == (0, 112, 112, 8)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((224, 224, 3), np.float32), InputError, r"images\[None\]"),
        (np.zeros((1, 3, 224, 224), np.float32), InputError, "Channels come last"),
        (np.zeros((1, 224, 224, 4), np.float32), InputError, "3 channels"),
        (np.zeros((1, 224, 224, 3), np.int32), InputTypeError, "Received: dtype int32"),
        (np.zeros((1, 224, 224, 3), bool), InputTypeError, "Received: dtype bool"),
        (np.full((2, 224, 224, 3), np.nan, np.float32), InputError, "NaN or infinity in image 0"),
        (np.full((1, 224, 224, 3), -np.inf, np.float32), InputError, "NaN or infinity"),
        (np.full((1, 224, 224, 3), 255, np.float32), InputError, "divide by 255"),
        (np.zeros((1, 0, 224, 3), np.float32), InputError, "not be empty"),
        ("photo.jpg", InputTypeError, r"load_image.*Received: builtins\.str"),
        ([[1], [2, 3]], InputTypeError, "must convert"),
        (None, InputTypeError, "Received"),
        (np.ma.masked_array(np.zeros((1, 8, 8, 3))), InputTypeError, "masked"),
        (np.full((1, 8, 8, 3), 1e39), InputError, "NaN or infinity"),
    ],
)
def test_images_that_do_not_fit_are_refused(module, images, error, message):
    with pytest.raises((error, InputError), match=message):
        module(images)


def test_one_bad_image_in_a_batch_is_named(module):
    images = np.zeros((5, 32, 32, 3), np.float32)
    images[3, 7, 7, 1] = np.nan
    with pytest.raises(InputError, match="image 3 of the batch"):
        module(images)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.dtype(">f4")])
def test_any_float_dtype_and_layout_is_accepted(module, dtype):
    images = reference_images()
    np.testing.assert_allclose(module(images.astype(dtype)), module(images), atol=0.02)
    flipped = np.asfortranarray(images)[:, :, ::-1]
    np.testing.assert_array_equal(module(flipped), module(np.ascontiguousarray(flipped)))


def test_lists_and_array_likes_are_accepted(module):
    class Wrapper:
        def __array__(self, dtype=None, copy=None):
            return np.full((1, 32, 32, 3), 0.5, np.float32)

    expected = module(np.full((1, 32, 32, 3), 0.5, np.float32))
    np.testing.assert_array_equal(module(Wrapper()), expected)
    np.testing.assert_array_equal(module(np.full((1, 32, 32, 3), 0.5).tolist()), expected)


def test_torch_tensors_are_accepted(module):
    torch = pytest.importorskip("torch")
    images = torch.full((1, 32, 32, 3), 0.5, requires_grad=True)
    np.testing.assert_array_equal(module(images), module(images.detach().numpy()))


def test_tensorflow_and_jax_arrays_are_accepted(module):
    expected = module(np.full((1, 32, 32, 3), 0.5, np.float32))
    jax_numpy = pytest.importorskip("jax.numpy")
    for dtype in (jax_numpy.float32, jax_numpy.bfloat16):
        np.testing.assert_array_equal(module(jax_numpy.full((1, 32, 32, 3), 0.5, dtype)), expected)
    tensorflow = pytest.importorskip("tensorflow")
    np.testing.assert_array_equal(module(tensorflow.fill((1, 32, 32, 3), 0.5)), expected)


def test_pixels_may_be_given_as_they_are(module):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    np.testing.assert_allclose(module(pixels), module(pixels.astype(np.float32) / 255), atol=1e-4)


def test_the_callers_array_is_not_changed(module):
    images = reference_images()
    module(images)
    np.testing.assert_array_equal(images, reference_images())


@pytest.mark.parametrize("tags", [{"serve"}, {"train", "gpu"}])
def test_unknown_tags_are_refused(tags):
    with pytest.raises(TagsError, match=r"No such graph variant: tags=\["):
        hub.Module(f"{SMALL}/3", tags=tags)


def test_missing_weights_are_an_error_and_random_ones_must_be_asked_for():
    handle = "google/imagenet/mobilenet_v2_050_96/feature_vector/3"
    with pytest.raises(MissingWeightsError, match=r"mobilenet_v2_0\.5_96\.tgz"):
        hub.Module(handle)
    module = hub.Module(handle, weights="random")
    assert "random" in repr(module)
    assert module(np.zeros((1, 96, 96, 3), np.float32)).shape == (1, 1280)


def test_variables_carry_their_names(module):
    assert module.variable_map["MobilenetV1/Conv2d_0/weights"].shape == (3, 3, 3, 8)
    assert len(module.variables) == len(module.variable_map)


def test_importing_the_package_imports_nothing_heavy():
    heavy = (
        "numpy",
        "openvino",
        "onnx",
        "pyarrow",
        "pandas",
        "PIL",
        "tensorflow",
        "torch",
        "keras",
    )
    code = f"import sys, mobilenet_hub; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run_python(code, **environment):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    variables = {k: v for k, v in os.environ.items() if k != "CI"} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_nothing_is_reported_to_anybody(tmp_path, monkeypatch, engine):
    """Their telemetry would resolve hosts, start a process and write to the home folder."""
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "PYTEST_CURRENT_TEST"):  # as outside of a test
        monkeypatch.delenv(name, raising=False)
    code = f"""
        import sys
        seen = []
        sys.addaudithook(lambda event, _: seen.append(event))
        import numpy, mobilenet_hub as hub
        hub.Module("{SMALL}/3", engine="{engine}")(numpy.zeros((1, 32, 32, 3), "float32"))
        print([e for e in seen if e.startswith(("socket.", "subprocess.", "os.fork", "os.spawn"))])
    """
    assert run_python(code, HOME=str(tmp_path)) == "[]"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_module_works_on_in_a_forked_child(engine):
    code = f"""
        import multiprocessing, numpy, mobilenet_hub as hub
        module = hub.Module("{SMALL}/3", engine="{engine}")
        images = numpy.full((5, 32, 32, 3), 0.5, "float32")
        expected = module(images)
        def child(queue):
            queue.put(bool((module(images) == expected).all()))
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,), daemon=True)
        process.start()
        print(queue.get(timeout=60))
        process.join()
    """
    assert run_python(code) == "True"


LET_GO = {
    "a module": "other = hub.Module(module.info); other(images); del other",
    "sizes": "for size in range(32, 64, 2): module(numpy.zeros((2, size, size, 3), 'float32'))",
    "one that embedded": "list(hub.embed(EXAMPLES, hub.Module(module.info, engine=ENGINE)))",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("what", LET_GO)
def test_a_module_works_on_in_a_forked_child_of_a_process_that_let_go_of(what, engine):
    """OpenVINO would give the child's module the threads of theirs, which are not there."""
    code = f"""
        import multiprocessing, numpy, mobilenet_hub as hub
        EXAMPLES, ENGINE = {str(EXAMPLES)!r}, {engine!r}
        module = hub.Module("{SMALL}/3", engine=ENGINE)
        images = numpy.full((5, 32, 32, 3), 0.5, "float32")
        expected = module(images)
        {LET_GO[what]}
        def child(queue):
            embedded = all(record.ok for record in hub.embed(EXAMPLES, module))
            queue.put(embedded and bool((module(images) == expected).all()))
        context = multiprocessing.get_context("fork")
        for _ in range(2):
            queue = context.Queue()
            process = context.Process(target=child, args=(queue,), daemon=True)
            process.start()
            print(queue.get(timeout=60))
            process.join()
        print(bool((module(images) == expected).all()))
    """
    assert run_python(code).split() == ["True"] * 3


def test_a_module_can_be_pickled_and_copied(module):
    images = reference_images()
    for again in (pickle.loads(pickle.dumps(module)), copy.copy(module)):
        assert again.info == module.info
        np.testing.assert_array_equal(again(images), module(images))


class Halved(hub.Module):
    """A module of somebody's own, with a constructor of its own."""

    def __init__(self, version):
        super().__init__(f"{SMALL}/{version}")
        self.version = version

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs) / 2


def test_a_subclass_may_extend_it_and_is_pickled_as_what_it_is(module):
    images = reference_images()[:1]
    halved = Halved(3)
    for again in (halved, pickle.loads(pickle.dumps(halved)), copy.copy(halved)):
        assert isinstance(again, Halved)
        assert isinstance(again, hub.Module)
        assert again.version == 3
        np.testing.assert_array_equal(again(images), module(images) / 2)


def test_a_module_made_of_a_module_computes_the_same(module):
    again = hub.Module(module)
    assert again.weights is module.weights
    np.testing.assert_array_equal(again(reference_images()), module(reference_images()))


def test_outputs_without_the_default_need_as_dict(module):
    images = reference_images()[:1]
    with pytest.raises(
        OutputError, match=r"There is no output named 'default'\. Use as_dict=True\."
    ):
        module(images, outputs=["MobilenetV1/Conv2d_0"])
    np.testing.assert_array_equal(module(images, outputs="default"), module(images))


@pytest.mark.parametrize("spec", [None, 3, b"handle"])
def test_what_names_no_module_is_refused(spec):
    with pytest.raises(InputTypeError, match="Received"):
        hub.Module(spec)


def test_a_signature_is_checked_without_weights():
    handle = "google/imagenet/mobilenet_v2_050_96/feature_vector/3"
    with pytest.raises(SignatureError, match="Unknown signature"):
        hub.get_expected_image_size(handle, signature="image_classification")


def test_a_call_is_silent(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(reference_images())
