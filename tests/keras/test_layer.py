"""`hub.KerasLayer`: tensorflow_hub's layer, in Keras 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
import mobilenet_hub.keras as mobilenets  # noqa: E402
from commands import mobilenet_hub_command  # noqa: E402
from keras_support import V1, V2, images, numpy_of, random_for  # noqa: E402
from mobilenet_hub.errors import (  # noqa: E402
    InputError,
    InputTypeError,
    KerasLayerError,
    SignatureError,
    TagsError,
    UnknownHandleError,
    WeightsError,
)
from places import EXAMPLES  # noqa: E402

FEATURES = f"{V1}/feature_vector/5"
CLASSIFIER = f"{V1}/classification/5"
HUB_FORMAT = f"{V1}/classification/3"
SMALL = (32, 32, 3)
# JAX has none unless jax_enable_x64 is set.
FLOAT64 = "float32" if keras.backend.backend() == "jax" else "float64"


def small_layer(handle=FEATURES, **options):
    return hub.KerasLayer(
        handle, **{"weights": random_for(handle), "input_shape": SMALL, **options}
    )


def classifier(layer, learning_rate=0.01):
    model = keras.Sequential([layer, keras.layers.Dense(2, activation="softmax")])
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def batch(count=4):
    return images(count, 32), np.arange(count) % 2


def changed(before, after):
    return {n for n, v in before.tensors.items() if not np.array_equal(v, after.tensors[n])}


def test_features_equal_the_fast_runtimes():
    handle = f"{V2}/feature_vector/5"
    layer = hub.KerasLayer(handle, output_shape=[1280])
    x = images(2)
    np.testing.assert_allclose(numpy_of(layer(x)), hub.Module(handle)(x), atol=1e-4)


def test_uint8_images_are_their_floats():
    layer = small_layer()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = layer((pixels / 255).astype(np.float32))
    np.testing.assert_allclose(numpy_of(layer(pixels)), numpy_of(expected), atol=1e-4)


def test_a_model_takes_uint8_images_by_an_input_that_says_so():
    layer = small_layer()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    model = keras.Sequential([keras.Input(SMALL, dtype="uint8"), layer])
    expected = numpy_of(layer((pixels / 255).astype(np.float32)))
    np.testing.assert_allclose(model.predict(pixels, verbose=0), expected, atol=1e-4)


def test_training_moves_everything_when_trainable():
    layer = small_layer(trainable=True)
    model = classifier(layer)
    before = layer.current_weights()
    model.fit(*batch(), epochs=1, verbose=0)
    assert changed(before, layer.current_weights()) == set(before.tensors)


def test_training_moves_nothing_when_not_trainable():
    layer = small_layer(trainable=False)
    model = classifier(layer)
    assert len(model.trainable_variables) == 2
    before = layer.current_weights()
    model.fit(*batch(), epochs=1, verbose=0)
    assert layer.current_weights() is before


def test_trainable_can_be_set_later():
    layer = small_layer(trainable=False)
    layer.trainable = True
    assert len(layer.trainable_variables) == 81
    layer.trainable = False
    assert layer.trainable_variables == []


def test_a_frozen_layer_computes_the_same_in_training():
    layer = small_layer(trainable=False)
    x, _ = batch()
    np.testing.assert_array_equal(numpy_of(layer(x, training=True)), numpy_of(layer(x)))


def test_regularization_losses_are_there_when_trainable_alone():
    weights = random_for(CLASSIFIER)
    layer = small_layer(CLASSIFIER, trainable=True, weights=weights)
    expected = (
        4e-5
        / 2
        * sum(
            np.square(v, dtype=np.float64).sum()
            for n, v in weights.tensors.items()
            if n.endswith("/weights")
        )
    )
    assert float(numpy_of(sum(layer.losses))) == pytest.approx(expected, rel=1e-4)
    layer.trainable = False
    assert layer.losses == []
    # What Keras reports while fitting is the sum of both.
    layer.trainable = True
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(0.0), keras.losses.MeanSquaredError())
    target = model.predict(images(2, 32), verbose=0)
    loss = model.evaluate(images(2, 32), target, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("given", "momentum"), [(None, 0.99), (0.997, 0.997)])
def test_arguments_choose_the_momentum(given, momentum):
    arguments = None if given is None else {"batch_norm_momentum": given}
    layer = small_layer(trainable=True, arguments=arguments)
    name = "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"
    x, _ = batch()
    before = layer.current_weights().tensors
    layer(x, training=True)
    after = layer.current_weights().tensors
    mean = batch_mean_of_the_first_convolution(before, x)
    expected = momentum * before[name] + (1 - momentum) * mean
    np.testing.assert_allclose(after[name], expected, atol=1e-6)


def batch_mean_of_the_first_convolution(tensors, x):
    from mobilenet_hub.keras.ops import reference

    kernel = keras.ops.convert_to_tensor(tensors["MobilenetV1/Conv2d_0/weights"])
    scaled = keras.ops.convert_to_tensor(2 * x - 1)
    options = {"stride": 2, "depthwise": False, "data_format": "channels_last"}
    return numpy_of(reference.convolve(scaled, kernel, **options)).mean((0, 1, 2))


def test_a_classifier_drops_features_in_training_alone():
    handle = f"{V2}/classification/5"
    layer = hub.KerasLayer(
        handle, trainable=True, weights=random_for(handle, num_classes=3), input_shape=SMALL
    )
    keras.utils.set_random_seed(0)
    x = images(2, 32)
    first, second = (numpy_of(layer(x, training=True)) for _ in range(2))
    assert not np.allclose(first, second, rtol=1e-3)
    np.testing.assert_array_equal(numpy_of(layer(x)), numpy_of(layer(x)))


def test_a_classifier_is_fine_tuned_as_a_model_of_its_own():
    layer = small_layer(CLASSIFIER, trainable=True, weights=random_for(CLASSIFIER, num_classes=3))
    model = keras.Sequential([layer])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, metrics=["accuracy"])
    before = layer.current_weights()
    model.fit(*batch(), epochs=1, verbose=0)
    assert changed(before, layer.current_weights()) == set(before.tensors)
    assert model.evaluate(*batch(), verbose=0)[1] >= 0


@pytest.mark.parametrize("trainable", [False, True])
def test_a_saved_model_comes_back_without_the_published_weights(tmp_path, trainable):
    handle = f"{V1[:-3]}128/feature_vector/5"  # its weights are nowhere on this machine
    arguments = {"batch_norm_momentum": 0.997} if trainable else None
    layer = hub.KerasLayer(
        handle, trainable=trainable, arguments=arguments, output_shape=[256],
        weights=random_for(handle), input_shape=SMALL, name="backbone",
    )  # fmt: skip
    model = classifier(layer)
    model.fit(*batch(), epochs=1, verbose=0)
    model.save(tmp_path / "x.keras")
    again = keras.models.load_model(tmp_path / "x.keras")
    x, y = batch()
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    same = again.get_layer("backbone")
    assert changed(layer.current_weights(), same.current_weights()) == set()
    assert same.get_config() == layer.get_config()
    assert len(same.losses) == len(layer.losses)
    again.fit(x, y, epochs=1, verbose=0)  # the optimizer came along too


def test_the_config_is_json_and_rebuilds_the_layer():
    layer = hub.KerasLayer(
        HUB_FORMAT, trainable=True, arguments={"batch_norm_momentum": 0.9},
        signature="image_feature_vector", output_key="MobilenetV1/Conv2d_3_pointwise",
        name="third", tags={"train"}, weights="random",
    )  # fmt: skip
    config = json.loads(json.dumps(layer.get_config()))
    again = hub.KerasLayer.from_config(config)
    assert again.get_config() == layer.get_config()
    assert again(images(1, 64)).shape == (1, 16, 16, 32)


def test_a_clone_has_the_published_weights():
    model = keras.Sequential([keras.Input((64, 64, 3)), hub.KerasLayer(FEATURES)])
    clone = keras.models.clone_model(model)
    x = images(1, 64)
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_clone_whose_weights_are_not_here_says_so_and_takes_them():
    handle = f"{V1[:-3]}128/feature_vector/5"
    layer = hub.KerasLayer(handle, weights=random_for(handle))
    model = keras.Sequential([keras.Input((64, 64, 3)), layer])
    with pytest.warns(UserWarning, match="configuration alone.*are not on this machine"):
        clone = keras.models.clone_model(model)
    with pytest.raises(WeightsError, match="NaN"):
        clone.layers[0].current_weights()
    x = images(1, 64)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


def test_weights_saved_alone_load_into_another_model(tmp_path):
    model, other = (classifier(small_layer(weights=random_for(FEATURES, seed=s))) for s in (1, 2))
    model.save_weights(tmp_path / "x.weights.h5")
    other.load_weights(tmp_path / "x.weights.h5")
    x, _ = batch()
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("what", ["export", "keras", "live"])
def test_what_was_trained_runs_on_the_fast_runtime(tmp_path, what):
    layer = small_layer(trainable=True)
    model = classifier(layer)
    model.fit(*batch(), epochs=1, verbose=0)
    if what == "export":
        digest = layer.export(tmp_path / "trained.safetensors")
        fast = hub.Module(str(tmp_path / "trained.safetensors"))  # it says whose it is itself
        assert hub.weights.load(tmp_path / "trained.safetensors").sha256 == digest
        assert fast.weights.metadata["handle"] == FEATURES
    elif what == "keras":
        model.save(tmp_path / "trained.keras")
        fast = hub.Module(FEATURES, weights=tmp_path / "trained.keras")
    else:
        fast = hub.Module(layer, tags=set())
    x = images(2, 64)
    expected = numpy_of(layer.resolved_object.network_layer(x))
    np.testing.assert_allclose(fast(x), expected, atol=1e-4)


def test_what_was_trained_runs_in_the_commands(tmp_path):
    layer = hub.KerasLayer(CLASSIFIER, trainable=True)
    layer(images(2), training=True)
    layer.export(tmp_path / "trained.safetensors")
    photo = EXAMPLES / "coffee.png"
    chosen = ("--module", tmp_path / "trained.safetensors", photo)
    embedded = mobilenet_hub_command("embed", *chosen, "--output", tmp_path / "features.npy")
    assert embedded.returncode == 0, embedded.stderr
    classified = mobilenet_hub_command("classify", *chosen, "--json")
    assert classified.returncode == 0, classified.stderr
    pixels = hub.load_image(photo, 224, 224)[None]
    fast = hub.Module(layer)
    expected = fast(pixels, signature="image_feature_vector")
    assert np.abs(expected - hub.Module(FEATURES)(pixels)).max() > 1e-3  # it did train
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), expected, atol=1e-4)
    best = hub.imagenet_labels()[int(fast(pixels).argmax())]
    assert best in classified.stdout.splitlines()[0]


def test_a_live_module_follows_the_training():
    layer = small_layer(trainable=True)
    fast = hub.Module(layer)
    x, _ = batch()
    before = fast(x)
    np.testing.assert_array_equal(fast(x), before)
    classifier(layer, learning_rate=0.1).fit(*batch(), epochs=1, verbose=0)
    after = fast(x)
    moved = np.abs(after - before).max()
    assert moved > 1e-3
    assert np.abs(after - numpy_of(layer(x))).max() < moved / 50


def test_exported_weights_say_where_they_came_from(tmp_path):
    layer = hub.KerasLayer(FEATURES, trainable=True)
    origin = hub.Module(FEATURES).weights
    assert layer.current_weights().metadata == origin.metadata  # nothing is trained yet
    layer(images(2, 64), training=True)
    metadata = layer.current_weights().metadata
    assert metadata["source"] == f"trained, beginning with: {origin.metadata['source']}"
    assert metadata["began_with_sha256"] == origin.sha256
    assert metadata["license"] == origin.metadata["license"]


def test_a_layer_of_a_loaded_object_shares_its_variables():
    module = hub.load(FEATURES, weights="random")
    layer = hub.KerasLayer(module, trainable=True, input_shape=SMALL)
    classifier(layer).fit(*batch(), epochs=1, verbose=0)
    assert changed(module.current_weights(), layer.current_weights()) == set()
    assert layer.resolved_object is module


def test_it_works_in_a_functional_model_with_endpoints():
    layer = small_layer(arguments={"return_endpoints": True})
    inputs = keras.Input(SMALL)
    outputs = layer(inputs)
    assert outputs["default"].shape == (None, 256)
    assert outputs["MobilenetV1/Conv2d_5_pointwise"].shape == (None, 4, 4, 64)
    model = keras.Model(inputs, outputs["MobilenetV1/Conv2d_5_pointwise"])
    assert model.predict(images(1, 32), verbose=0).shape == (1, 4, 4, 64)


def test_a_layer_applied_twice_is_one_network():
    layer = small_layer(trainable=True)
    first, second = keras.Input(SMALL), keras.Input(SMALL)
    model = keras.Model([first, second], keras.layers.Subtract()([layer(first), layer(second)]))
    assert len(model.trainable_variables) == 81
    assert len(model.losses) == 14
    x = images(2, 32)
    difference = model.predict([x, x[::-1]], verbose=0)
    np.testing.assert_allclose(difference, -difference[::-1], atol=1e-6)


def test_two_networks_in_a_model_keep_apart(tmp_path):
    inputs = keras.Input(SMALL)
    layers = [small_layer(name=n, weights=random_for(FEATURES, seed=ord(n))) for n in "ab"]
    model = keras.Model(inputs, [layer(inputs) for layer in layers])
    model.save(tmp_path / "x.keras")
    again = keras.models.load_model(tmp_path / "x.keras")
    for layer in layers:
        loaded = again.get_layer(layer.name).current_weights()
        assert changed(layer.current_weights(), loaded) == set()
    assert changed(*(layer.current_weights() for layer in layers))


def test_frames_of_a_video_go_through_the_layer():
    layer = small_layer()
    assert layer.compute_output_shape((None, *SMALL)) == (None, 256)
    model = keras.Sequential([keras.Input((2, *SMALL)), keras.layers.TimeDistributed(layer)])
    frames = images(4, 32).reshape(2, 2, *SMALL)
    expected = numpy_of(layer(images(4, 32))).reshape(2, 2, 256)
    np.testing.assert_allclose(model.predict(frames, verbose=0), expected, atol=1e-4)


def test_signatures_and_output_keys_choose_the_output():
    x = images(1, 32)
    weights = random_for(CLASSIFIER)
    logits = numpy_of(small_layer(CLASSIFIER, weights=weights)(x))
    assert logits.shape == (1, 1001)
    features = small_layer(
        CLASSIFIER, weights=weights, signature="image_feature_vector", output_key="default"
    )
    assert features(x).shape == (1, 256)
    everything = small_layer(
        CLASSIFIER, weights=weights, signature="image_classification",
        signature_outputs_as_dict=True,
    )(x)  # fmt: skip
    np.testing.assert_allclose(numpy_of(everything["default"]), logits, rtol=1e-5, atol=1e-5)
    assert "MobilenetV1/Conv2d_13_pointwise" in everything


def test_the_tf1_format_has_its_default_signature():
    x = images(1, 32)
    assert small_layer(HUB_FORMAT)(x).shape == (1, 1001)
    outputs = small_layer(HUB_FORMAT, signature_outputs_as_dict=True)(x)
    assert outputs["default"].shape == (1, 1001)
    named = small_layer(HUB_FORMAT, output_key="MobilenetV1/Conv2d_0")
    assert named(x).shape == (1, 16, 16, 8)


def test_inputs_can_be_named():
    layer = small_layer(
        trainable=True, signature="image_feature_vector_with_bn_hparams", output_key="default"
    )
    before = layer.current_weights()
    layer({"images": images(2, 32), "batch_norm_momentum": np.float32(1.0)}, training=True)
    assert layer.current_weights() is before  # an average of momentum 1 does not move
    layer({"images": images(2, 32), "batch_norm_momentum": np.float32(0.5)}, training=True)
    assert changed(before, layer.current_weights())


REFUSED = [
    ({"signature": "image_classification"},
     SignatureError, r"Unknown signature image_classification in .* \(available signatures: \["),
    ({"signature": "default"}, KerasLayerError,
     "When using a signature, either output_key or signature_outputs_as_dict=True should be set."),
    ({"signature": "default", "output_key": "default", "signature_outputs_as_dict": True},
     KerasLayerError, "When using a signature, either output_key or"),
    ({"signature_outputs_as_dict": True}, KerasLayerError,
     "signature_outputs_as_dict is only valid if specifying a signature"),
    ({"output_key": "default"}, KerasLayerError,
     "Specifying `output_key` is forbidden if output type is not a dict"),
    ({"signature": "default", "output_key": "Conv2d_0"}, KerasLayerError,
     r"KerasLayer output does not contain the output key Conv2d_0 \(available: \['default'"),
    ({"arguments": 0.997}, KerasLayerError, "arguments must be a dict.*Received: 0.997"),
    ({"arguments": {"momentum": 0.9}}, KerasLayerError, "Received: 'momentum'"),
    ({"arguments": {"batch_norm_momentum": 2}}, InputError, r"in \[0,1\]. Received: 2"),
    ({"tags": {"gpu"}}, TagsError, r"No such graph variant: tags=\['gpu'\]"),
    ({"input_shape": (32, 32)}, InputError, r"\(height, width, 3\).*Received: \(32, 32\)"),
    ({"input_shape": (32, 32, 1)}, InputError, r"Received: \(32, 32, 1\)"),
    ({"input_shape": (32.0, 32, 3)}, InputError, r"Received: \(32\.0, 32, 3\)"),
    ({"input_shape": 224}, InputError, r"\(height, width, 3\).*Received: 224"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_arguments_that_make_no_sense_are_refused_in_one_sentence(options, error, message):
    with pytest.raises(error, match=message) as caught:
        hub.KerasLayer(FEATURES, weights="random", **options)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_arguments_that_no_file_can_hold_are_refused_when_one_is_written():
    layer = small_layer(arguments={"batch_norm_momentum": np.float32(0.9)})
    with pytest.raises(KerasLayerError, match="contains non json-serializable values in key"):
        layer.get_config()


def test_momentum_cannot_be_chosen_before_version_3():
    with pytest.raises(KerasLayerError, match="from version 3 on"):
        hub.KerasLayer(f"{V1}/feature_vector/1", arguments={"batch_norm_momentum": 0.9})


def test_an_unknown_handle_names_the_nearest():
    with pytest.raises(UnknownHandleError, match="mobilenet_v2_100_224/feature_vector"):
        hub.KerasLayer("https://tfhub.dev/google/imagenet/mobilenet_v2_100_244/feature_vector/5")


@pytest.mark.parametrize("shape", [[1001], [None, 256], [256, 1], []])
def test_an_output_shape_that_disagrees_is_refused_when_built(shape):
    model = keras.Sequential([small_layer(output_shape=shape, input_shape=None)])
    with pytest.raises(KerasLayerError, match=r"is \[256\] \(without the batch\). Received"):
        model.build([None, 32, 32, 3])


def test_an_output_shape_may_leave_sizes_open_and_name_outputs():
    assert small_layer(output_shape=[None])(images(1, 32)).shape == (1, 256)
    layer = small_layer(signature="default", signature_outputs_as_dict=True, output_shape={})
    with pytest.raises(KerasLayerError, match=r"a dict with the keys \['default'"):
        layer(images(1, 32))


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "message"),
    [
        ((2, 192, 192, 3), "float32", InputError, "fixed to 224x224.*Received: shape"),
        ((224, 224, 3), "float32", InputError, r"\[batch, 224, 224, 3\].*Received: shape \[224"),
        ((2, 224, 224, 1), "float32", InputError, r"Received: shape \[2, 224, 224, 1\]"),
        ((2, 224, 224, 3), "int32", InputTypeError, "Received: dtype int32"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_sentence(shape, dtype, error, message):
    layer = hub.KerasLayer(f"{V2}/feature_vector/5")
    with pytest.raises(error, match=message) as caught:
        layer(np.zeros(shape, dtype))
    assert "\n" not in str(caught.value)
    with pytest.raises(error, match=message):
        layer(keras.KerasTensor(shape, dtype))


def test_a_list_of_images_is_refused():
    with pytest.raises(InputTypeError, match="Received: list"):
        small_layer()([[1.0]])


def test_a_file_in_another_process_needs_the_package_imported_and_says_so(tmp_path):
    model = classifier(small_layer())
    model.save(tmp_path / "x.keras")
    np.save(tmp_path / "x.npy", images(2, 32))
    script = (
        "import sys, keras, numpy as np\n"
        f"file, batch = {str(tmp_path / 'x.keras')!r}, np.load({str(tmp_path / 'x.npy')!r})\n"
        "try: keras.models.load_model(file)\n"
        "except TypeError as error: print(error)\n"
        "else: sys.exit('it loaded')\n"
        "assert 'mobilenet_hub' not in sys.modules\n"
        "import mobilenet_hub.keras\n"
        "outputs = keras.models.load_model(file).predict(batch, verbose=0)\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, outputs)"
    )
    source = str(Path(hub.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (
        "This layer is mobilenet-hub's: `import mobilenet_hub.keras` before loading it "
        "(pip install 'mobilenet-hub[keras]')."
    ) in done.stdout
    expected = model.predict(images(2, 32), verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)


def test_a_layer_in_a_module_of_torch_has_its_parameters_there():
    if keras.backend.backend() != "torch":
        pytest.skip("of torch alone")
    import torch

    class Net(torch.nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.backbone = small_layer(trainable=True, weights=random_for(FEATURES, seed=seed))
            self.head = torch.nn.Linear(256, 2)

        def forward(self, x):
            return self.head(self.backbone(x, training=self.training))

    net, other = Net(1), Net(2)
    assert len(list(net.parameters())) == 135 + 2  # the moving averages among them
    assert len([p for p in net.parameters() if p.requires_grad]) == 81 + 2
    before = net.backbone.current_weights()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    x, y = torch.tensor(images(4, 32)), torch.tensor([0, 1, 0, 1])
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
    after = net.backbone.current_weights()
    assert changed(before, after) == set(before.tensors)
    state = net.state_dict()
    assert len(state) == 137
    other.load_state_dict(state)
    assert changed(after, other.backbone.current_weights()) == set()
    np.testing.assert_array_equal(
        numpy_of(other.eval()(x).detach()), numpy_of(net.eval()(x).detach())
    )


@pytest.mark.parametrize("how", ["save", "clone"])
def test_what_was_frozen_in_part_stays_so(tmp_path, how):
    layer = small_layer(trainable=True, name="backbone")
    for convolution in layer.network_layer.convolutions[:-5]:
        convolution.trainable = False
    layer.network_layer.convolutions[-1].batch_norm.trainable = False
    model = keras.Sequential([layer])
    assert len(model.trainable_variables) == 5 * 3 - 2
    if how == "save":
        model.save(tmp_path / "x.keras")
        again = keras.models.load_model(tmp_path / "x.keras")
    else:
        again = keras.models.clone_model(model)
    kept = [variable.path for variable in again.trainable_variables]
    assert kept == [variable.path for variable in model.trainable_variables]
    same = again.get_layer("backbone")
    assert same.get_config() == layer.get_config()
    same.trainable = False  # on TensorFlow, setting what is set does nothing
    same.trainable = True
    assert len(again.trainable_variables) == 81


def test_batch_norm_is_frozen_in_one_line():
    layer = small_layer(trainable=True)
    model = classifier(layer)
    mobilenets.freeze_batch_norm(model)
    before = layer.current_weights()
    model.fit(*batch(), epochs=1, verbose=0)
    moved = changed(before, layer.current_weights())
    assert moved == {name for name in before.tensors if "BatchNorm" not in name}


def test_the_weight_decay_can_be_chosen_and_is_kept():
    for handle in (FEATURES, CLASSIFIER):
        usual = small_layer(handle, trainable=True)
        strong = small_layer(handle, trainable=True, weight_decay=4e-4)
        ratio = float(numpy_of(sum(strong.losses))) / float(numpy_of(sum(usual.losses)))
        assert ratio == pytest.approx(10, rel=1e-4)
    again = hub.KerasLayer.from_config(strong.get_config())
    assert again.get_config() == strong.get_config()
    assert again.network_layer.weight_decay == 4e-4
    assert small_layer(trainable=True, weight_decay=0.0).losses == []
    with pytest.raises(KerasLayerError, match="Received: weight_decay"):
        hub.KerasLayer(hub.load(FEATURES, weights="random"), weight_decay=0.1)


def test_a_model_is_saved_as_h5_and_comes_back(tmp_path):
    layer = small_layer(
        trainable=True, arguments={"batch_norm_momentum": 0.9}, output_shape=[256], tags="serve"
    )
    model = classifier(layer)
    model.save(tmp_path / "x.h5")
    again = keras.models.load_model(tmp_path / "x.h5", compile=False)
    x, _ = batch()
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert changed(layer.current_weights(), again.layers[0].current_weights()) == set()


def test_float64_computes_in_float64():
    layer = small_layer(dtype="float64", trainable=True)
    x = images(2, 32).astype(np.float64)
    expected = numpy_of(small_layer(weights=layer.current_weights())(x.astype(np.float32)))
    for training in (False, True):
        features = layer(x, training=training)
        assert keras.backend.standardize_dtype(features.dtype) == FLOAT64
        if not training:
            np.testing.assert_allclose(numpy_of(features), expected, atol=1e-4)
    assert {v.dtype for v in layer.weights if "BatchNorm" in v.path} == {"float32"}


@pytest.mark.parametrize("how", ["export", "save", "clone"])
def test_classes_keep_the_names_they_came_with(tmp_path, how):
    names = ["ant", "bee", "cicada"]
    weights = random_for(CLASSIFIER, num_classes=3).with_metadata(labels=json.dumps(names))
    layer = small_layer(CLASSIFIER, trainable=True, weights=weights, name="network")
    model = keras.Sequential([layer])
    layer(images(2, 32), training=True)
    again = layer
    if how == "save":
        model.save(tmp_path / "x.keras")
        again = keras.models.load_model(tmp_path / "x.keras").get_layer("network")
    elif how == "clone":
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        again = clone.get_layer("network")
    again.export(tmp_path / "x.safetensors")
    assert hub.Module(CLASSIFIER, weights=tmp_path / "x.safetensors").labels == tuple(names)


def test_other_classes_without_names_are_numbers():
    layer = small_layer(CLASSIFIER, weights=random_for(CLASSIFIER, num_classes=3))
    again = hub.KerasLayer.from_config(layer.get_config())
    assert hub.Module(layer).labels == ("0", "1", "2")
    assert again.network_layer.network.num_classes == 3
