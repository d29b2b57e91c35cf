"""`hub.Module` in TensorFlow 1's graphs: numbers, names, collections, files."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub.errors import InputError, SignatureError, TagsError  # noqa: E402
from mobilenet_hub.tensorflow.graph_module import GraphModule  # noqa: E402
from tensorflow_support import (  # noqa: E402
    INFERENCE,
    TRAINING,
    V1,
    V2,
    V2_LOGITS,
    images,
    initialized,
    largest_error,
    reference,
    tf1_session,
)

pytestmark = pytest.mark.tensorflow
v1 = tf.compat.v1
X = images()
BN_HPARAMS = "image_feature_vector_with_bn_hparams"


def placeholder(size=224):
    return v1.placeholder(tf.float32, [None, size, size, 3])


@pytest.mark.parametrize("network", [V1, V2])
def test_features_and_endpoints_are_those_of_the_original_network(network):
    with tf1_session() as session:
        module = GraphModule(f"{network}/feature_vector/3")
        inputs = placeholder()
        outputs = module(inputs, signature="image_feature_vector", as_dict=True)
        found = initialized(session).run(outputs, {inputs: X})
    assert largest_error(found["default"], reference(network, "features")) < 1e-4
    key = network.split("/")[2]
    for name, value in found.items():
        if name != "default":
            endpoint = f"{key}/endpoints/{name.partition('/')[2]}"
            means = INFERENCE[f"{endpoint}/channel_means"]
            assert value.shape[1:] == tuple(INFERENCE[f"{endpoint}/shape"])
            np.testing.assert_allclose(value.mean((0, 1, 2)), means, atol=1e-4)


def test_logits_are_those_of_the_original_network():
    with tf1_session() as session:
        logits = GraphModule(f"{V2_LOGITS}/classification/3")(X)
        found = initialized(session).run(logits)
    assert largest_error(found, reference(V2_LOGITS, "logits")) < 1e-4


@pytest.mark.parametrize("network", [V1, V2])
def test_endpoints_are_those_of_the_fast_runtime_whole(network):
    handle = f"{network}/feature_vector/1"
    expected = hub.Module(handle)(X[:2], as_dict=True)
    with tf1_session() as session:
        outputs = GraphModule(handle)(X[:2], as_dict=True)
        found = initialized(session).run(outputs)
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=2e-4, err_msg=name)


@pytest.mark.parametrize("network", [V1, V2])
@pytest.mark.parametrize("momentum", [0.99, 0.997])
def test_update_ops_do_what_the_original_network_does(network, momentum):
    with tf1_session() as session:
        module = GraphModule(f"{network}/feature_vector/3", trainable=True, tags={"train"})
        inputs = {"images": X, "batch_norm_momentum": momentum}
        features = module(inputs, signature=BN_HPARAMS)
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        loss = v1.losses.get_regularization_loss()
        found, _, total = initialized(session).run([features, updates, loss])
        after = module.current_weights(session).tensors
    key = f"{network.split('/')[2]}/train"
    expected = TRAINING[f"{key}/features"]
    assert largest_error(found, expected) / np.abs(expected).max() < 1e-3
    assert total == pytest.approx(TRAINING[f"{key}/regularization_loss_without_logits"], rel=1e-5)
    moving = [name for name in after if "/moving_" in name]
    assert len(moving) == len(updates)
    for name in moving:
        np.testing.assert_allclose(
            after[name], TRAINING[f"{key}/momentum_{momentum}/{name}"], rtol=1e-3, atol=1e-5
        )


def test_the_reference_networks_of_the_oracle(shared):
    """Random weights, with everything that one call in training mode changes."""
    for name, size in (("mobilenet_v1_050_128", 128), ("mobilenet_v2_035_96", 96)):
        folder = shared / "oracle" / name
        given, updated = np.load(folder / "io.npz"), np.load(folder / "batch_norm_update.npz")
        handle = f"google/imagenet/{name}/classification/3"
        weights = folder / "model.ckpt"
        with tf1_session() as session:
            inputs = placeholder(size)
            module = GraphModule(handle, weights=weights)
            train = GraphModule(handle, trainable=True, tags={"train"}, weights=weights)
            logits = module(inputs)
            features = module(inputs, signature="image_feature_vector")
            trained = train(inputs, signature="image_feature_vector")
            updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
            loss = v1.losses.get_regularization_loss()
            feed = {inputs: given["images"]}
            found = initialized(session).run([logits, features, loss], feed)
            in_training, _ = session.run([trained, updates], {inputs: updated["images"]})
            after = train.current_weights(session).tensors
        for value, expected in zip(found, (given["logits"], given["features"]), strict=False):
            assert largest_error(value, expected) / np.abs(expected).max() < 1e-3
        assert found[2] == pytest.approx(updated["regularization_loss"], rel=1e-5)
        np.testing.assert_allclose(in_training, updated["train_features"], atol=2e-3)
        for tensor in after:
            if "/moving_" in tensor:
                expected = updated[f"after_one_step_momentum_0.99/{tensor}"]
                np.testing.assert_allclose(after[tensor], expected, rtol=1e-3, atol=1e-5)


def test_variables_are_named_and_collected_as_tf_slim_does():
    with tf1_session():
        GraphModule(f"{V2}/feature_vector/3")
        with v1.variable_scope("tower"):
            GraphModule(f"{V2}/feature_vector/3", name="encoder", trainable=True)
        GraphModule(f"{V2}/feature_vector/3")
        names = [variable.name for variable in v1.global_variables()]
        trainable = [variable.name for variable in v1.trainable_variables()]
        assert names[0] == "module/MobilenetV2/Conv/weights:0"
        assert names[260] == "tower/encoder/MobilenetV2/Conv/weights:0"
        assert names[520] == "module_1/MobilenetV2/Conv/weights:0"
        assert v1.get_collection(v1.GraphKeys.MODEL_VARIABLES) == v1.global_variables()
        assert len(trainable) == 156
        assert all(n.startswith("tower/encoder/") and "/moving_" not in n for n in trainable)
        assert len(v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)) == 35


def test_applications_share_variables_and_update_them_each():
    with tf1_session() as session:
        module = GraphModule(f"{V1}/feature_vector/3", trainable=True, tags={"train"})
        first, second = module(X[:2]), module(X[2:])
        assert len(v1.global_variables()) == 135
        assert len(v1.get_collection(v1.GraphKeys.UPDATE_OPS)) == 108
        assert first.name.startswith("module_apply_default/")
        assert second.name.startswith("module_apply_default_1/")
        a, b = initialized(session).run([first, second])
        assert np.abs(a - b).max() > 1e-2


def test_what_is_not_trained_is_left_alone():
    with tf1_session() as session:
        module = GraphModule(f"{V1}/feature_vector/3", tags={"train"})
        features = module(X)
        assert v1.get_collection(v1.GraphKeys.UPDATE_OPS) == []
        assert v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES) == []
        assert v1.trainable_variables() == []
        before = module.current_weights(initialized(session))
        session.run(features)
        after = module.current_weights(session)
    for name, value in before.tensors.items():
        np.testing.assert_array_equal(value, after.tensors[name])


def test_a_classifier_drops_features_in_training_only():
    with tf1_session() as session:
        x = X[:1]
        train = GraphModule(f"{V2_LOGITS}/classification/3", tags={"train"})(x)
        plain = GraphModule(f"{V2_LOGITS}/classification/3")(x)
        initialized(session)
        dropped = [session.run(train) for _ in range(2)]
        kept = [session.run(plain) for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 1e-2
    np.testing.assert_array_equal(*kept)


def test_images_that_do_not_fit_are_refused_when_they_are_known_to():
    with tf1_session() as session:
        module = GraphModule(f"{V2}/feature_vector/3")
        with pytest.raises(InputError, match=r"224, 224, 3\]; resize"):
            module(placeholder(96))
        with pytest.raises(InputError, match="dtype int32"):
            module(np.zeros((1, 224, 224, 3), np.int32))
        unknown = v1.placeholder(tf.float32)
        features = module(unknown)
        initialized(session)
        with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
            session.run(features, {unknown: images(1, 96)})
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"images / 255.0"):
            session.run(features, {unknown: 255 * X})
        nothing = np.full_like(X, np.nan)
        with pytest.raises(tf.errors.InvalidArgumentError, match="float images must be"):
            session.run(features, {unknown: nothing})
        found = session.run(features, {unknown: X})
    assert largest_error(found, reference(V2, "features")) < 1e-4


def test_uint8_images_are_divided():
    pixels = np.random.RandomState(0).randint(0, 256, (2, 224, 224, 3), np.uint8)
    expected = hub.Module(f"{V2}/feature_vector/3")(pixels)
    with tf1_session() as session:
        inputs = v1.placeholder(tf.uint8, [None, None, None, 3])
        features = GraphModule(f"{V2}/feature_vector/3")(inputs)
        found = initialized(session).run(features, {inputs: pixels})
    assert largest_error(found, expected) < 1e-4


def test_another_graph_and_other_tags_are_refused():
    with tf1_session():
        module = GraphModule(f"{V1}/feature_vector/3")
        with pytest.raises(SignatureError, match="Unknown signature nothing"):
            module(X, signature="nothing")
        with pytest.raises(TagsError, match="No such graph variant"):
            GraphModule(f"{V1}/feature_vector/3", tags={"serve_all"})
    with tf1_session(), pytest.raises(RuntimeError, match="in the graph it was instantiated for"):
        module(X)


def test_a_saver_brings_trained_weights_back(tmp_path):
    handle = f"{V1}/feature_vector/3"
    with tf1_session() as session:
        features = GraphModule(handle, trainable=True)(X)
        optimizer = v1.train.GradientDescentOptimizer(1e-4)
        step = optimizer.minimize(tf.reduce_sum((features - 1.0) ** 2))
        initialized(session).run(step)
        trained = session.run(features)
        path = v1.train.Saver().save(session, str(tmp_path / "model"))
    assert largest_error(trained, reference(V1, "features")) > 1e-2
    with tf1_session() as session:
        features = GraphModule(handle, trainable=True)(X)
        v1.train.Saver().restore(session, path)
        np.testing.assert_allclose(session.run(features), trained, atol=1e-5)


def test_a_frozen_graph_computes_the_same(tmp_path):
    with tf1_session() as session:
        inputs = placeholder()
        features = GraphModule(f"{V2}/feature_vector/3")(inputs)
        names = inputs.name, features.name
        frozen = v1.graph_util.convert_variables_to_constants(
            initialized(session), session.graph_def, [features.op.name]
        )
        (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())
    with tf1_session() as session:
        read = v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
        tf.import_graph_def(read, name="")
        assert not any(node.op == "VarHandleOp" for node in read.node)
        found = session.run(names[1], {names[0]: X})
    assert largest_error(found, reference(V2, "features")) < 1e-4


def test_a_saved_model_of_such_a_graph_computes_the_same(tmp_path):
    with tf1_session() as session:
        inputs = placeholder()
        features = GraphModule(f"{V1}/feature_vector/3")(inputs)
        v1.saved_model.simple_save(
            initialized(session), str(tmp_path / "saved"), {"x": inputs}, {"y": features}
        )
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    found = loaded.signatures["serving_default"](x=tf.constant(X))["y"]
    assert largest_error(found, reference(V1, "features")) < 1e-4


def test_export_writes_a_module_in_the_hub_format(tmp_path):
    folder = tmp_path / "mobilenet_v2_035_224"
    with tf1_session() as session:
        module = GraphModule(f"{V2}/feature_vector/3", trainable=True)
        first = v1.assign_add(
            module.variable_map["MobilenetV2/Conv/weights"], tf.ones((3, 3, 3, 16))
        )
        features = module(X)
        initialized(session).run(first)
        expected = session.run(features)
        module.export(folder, session)
        other = v1.Session(graph=tf.Graph())
        with pytest.raises(RuntimeError, match="session graph differs"):
            module.export(tmp_path / "other", other)
        sha256 = module.export(tmp_path / "x.safetensors")
        with pytest.raises(FileExistsError, match="not there yet"):
            module.export(folder, session)
        with pytest.raises(RuntimeError, match="default graph differs"), tf1_session() as other:
            module.export(tmp_path / "other", other)
    assert len(sha256) == 64
    assert largest_error(hub.Module(folder)(X), expected) < 1e-3
    assert largest_error(hub.Module(tmp_path / "x.safetensors")(X), expected) < 1e-3
    with tf1_session() as session:
        again = GraphModule(folder, tags={"train"}, trainable=True)(X, signature=BN_HPARAMS[:20])
        assert np.isfinite(initialized(session).run(again)).all()
    original = tf.saved_model.load(str(folder), tags=["train"])
    assert set(original.signatures) == {"default", "image_feature_vector", BN_HPARAMS}
    inference = tf.saved_model.load(str(folder), tags=[]).signatures["default"]
    assert largest_error(inference(images=tf.constant(X))["default"], expected) < 1e-4


def test_an_exported_module_says_itself_which_it_is(tmp_path):
    """V1 takes images of any size, so that nothing else in the folder tells it from its kin."""
    handle = f"{V1}/feature_vector/1"
    folder = tmp_path / "exported"
    with tf1_session() as session:
        module = GraphModule(handle)
        initialized(session)
        module.export(folder, session)
    again = hub.Module(folder)
    assert again.info.handle == handle
    assert largest_error(again(X), reference(V1, "features")) < 1e-4


def test_functions_and_datasets_make_the_module_outside_of_themselves():
    handle = f"{V1}/feature_vector/3"

    @tf.function
    def features(x):
        return GraphModule(handle)(x)

    for count in (4, 2):  # two traces
        found = features(tf.constant(X[:count]))
        assert largest_error(found, reference(V1, "features")[:count]) < 1e-4
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(2).map(lambda x: GraphModule(handle)(x))
    found = np.concatenate([batch.numpy() for batch in dataset])
    assert largest_error(found, reference(V1, "features")) < 1e-4


def test_iterators_of_tensorflow_1_compute_with_the_modules_variables():
    with tf1_session() as session:
        module = GraphModule(f"{V1}/feature_vector/3")
        dataset = tf.data.Dataset.from_tensor_slices(X).batch(2).map(module)
        iterator = v1.data.make_initializable_iterator(dataset)
        batch = iterator.get_next()
        initialized(session).run(iterator.initializer)
        found = np.concatenate([session.run(batch) for _ in range(2)])
    assert largest_error(found, reference(V1, "features")) < 1e-4


def test_a_function_in_a_session_updates_averages_when_it_runs():
    with tf1_session() as session:
        module = GraphModule(f"{V1}/feature_vector/3", trainable=True, tags={"train"})
        features = tf.function(module)(tf.constant(X))
        before = module.current_weights(initialized(session)).tensors
        session.run(features)
        after = module.current_weights(session).tensors
    name = "MobilenetV1/Conv2d_0/BatchNorm/moving_mean"
    np.testing.assert_allclose(
        after[name], TRAINING[f"mobilenet_v1_025_224/train/momentum_0.99/{name}"], rtol=1e-3
    )
    assert np.abs(after[name] - before[name]).max() > 0
