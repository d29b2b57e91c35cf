"""The networks, against the figures of the papers and of TF-Slim."""

from __future__ import annotations

import pytest

from mobilenet_hub.catalog import modules
from mobilenet_hub.networks import network

# gamma and beta counted, moving statistics not; with the 1001 logits
PARAMETERS = {
    ("mobilenet_v2", 0.35): 1_678_409,
    ("mobilenet_v2", 0.5): 1_969_961,
    ("mobilenet_v2", 0.75): 2_637_705,
    ("mobilenet_v2", 1.0): 3_506_153,
    ("mobilenet_v2", 1.3): 5_388_457,
    ("mobilenet_v2", 1.4): 6_110_569,
    ("mobilenet_v1", 0.25): 470_329,
    ("mobilenet_v1", 0.5): 1_332_105,
    ("mobilenet_v1", 0.75): 2_586_329,
    ("mobilenet_v1", 1.0): 4_233_001,
}
# Where TF-Slim's README disagrees with its own networks, in millions.
COMPUTED_OTHERWISE = {
    "mobilenet_v1_075_224": 325,
    "mobilenet_v1_075_192": 239,
    "mobilenet_v1_075_160": 166,
    "mobilenet_v1_075_128": 107,
    "mobilenet_v1_025_192": 30,
}
CHECKPOINTS = {record.checkpoint_key: record for record in modules().values()}


@pytest.mark.parametrize(("key", "expected"), PARAMETERS.items(), ids=str)
def test_parameter_count_is_exact(key, expected):
    net = network(*key)
    assert net.num_parameters(logits=True) == expected
    counted = {
        name: shape for name, shape in net.variables(logits=True).items() if "moving_" not in name
    }
    total = 0
    for shape in counted.values():
        size = 1
        for dimension in shape:
            size *= dimension
        total += size
    assert total == expected


@pytest.mark.parametrize("key", CHECKPOINTS)
def test_multiply_adds_are_the_published_ones(key):
    record = CHECKPOINTS[key]
    millions = record.network.multiply_adds(record.image_size, record.image_size) / 1e6
    expected = COMPUTED_OTHERWISE.get(key, record.published.multiply_adds)
    if record.family == "mobilenet_v2":  # cut, not rounded
        assert int(millions) == expected
    else:
        assert abs(millions - expected) < 0.51  # 149.498 M is published as 150


def test_there_are_38_checkpoints():
    assert len(CHECKPOINTS) == 38


@pytest.mark.parametrize(
    ("family", "multiplier", "features"),
    [
        ("mobilenet_v2", 0.35, 1280),
        ("mobilenet_v2", 1.0, 1280),
        ("mobilenet_v2", 1.3, 1664),
        ("mobilenet_v2", 1.4, 1792),
        ("mobilenet_v1", 0.25, 256),
        ("mobilenet_v1", 0.5, 512),
    ],
)
def test_last_convolution_is_scaled_only_where_the_family_scales_it(family, multiplier, features):
    assert network(family, multiplier).num_features == features


def test_v2_has_residuals_exactly_where_stride_is_1_and_depth_is_kept():
    net = network("mobilenet_v2", 1.0)
    with_residual = [layer.scope.split("/")[1] for layer in net.layers if layer.residual]
    blocks = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    assert with_residual == [f"expanded_conv_{block}" for block in blocks]
    assert not any(layer.activation for layer in net.layers if layer.residual)


def test_v1_has_no_residual_and_relu6_everywhere():
    net = network("mobilenet_v1", 0.25)
    assert all(layer.activation == "relu6" and layer.residual is None for layer in net.convolutions)


def test_channels_of_035_follow_slims_rounding():
    net = network("mobilenet_v2", 0.35)
    projections = [layer.out_channels for layer in net.layers if layer.scope.endswith("project")]
    assert projections == [8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112]


def test_variables_carry_tf_slim_names_and_layouts():
    shapes = network("mobilenet_v2", 1.0).variables(logits=True)
    assert shapes["MobilenetV2/Conv/weights"] == (3, 3, 3, 32)
    assert shapes["MobilenetV2/expanded_conv_3/depthwise/depthwise_weights"] == (3, 3, 144, 1)
    assert shapes["MobilenetV2/expanded_conv_3/depthwise/BatchNorm/moving_mean"] == (144,)
    assert shapes["MobilenetV2/Logits/Conv2d_1c_1x1/weights"] == (1, 1, 1280, 1001)
    assert "MobilenetV2/expanded_conv/expand/weights" not in shapes  # expansion 1: no expand
    assert len(shapes) == 262
    assert len(network("mobilenet_v2", 1.0).variables(logits=False)) == 260


@pytest.mark.parametrize("size", [(224, 224), (97, 131), (1, 1)])
def test_endpoint_sizes_are_those_of_same_padding(size):
    shapes = network("mobilenet_v1", 0.5).endpoint_shapes(*size)
    names = ("Conv2d_0", "Conv2d_2_depthwise", "Conv2d_4_depthwise", "Conv2d_6_depthwise")
    for halvings, name in enumerate(names, start=1):
        assert shapes[name][:2] == tuple(-(-s // 2**halvings) for s in size)


@pytest.mark.parametrize("arguments", [("mobilenet_v3", 1.0), ("mobilenet_v2", 0.0)])
def test_an_impossible_network_is_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        network(*arguments)


def test_a_hidden_layer_is_part_of_the_head_alone():
    plain, deep = network("mobilenet_v2", 0.35, 3), network("mobilenet_v2", 0.35, 3, hidden_units=9)
    assert deep.convolutions == plain.convolutions
    assert deep.num_features == plain.num_features == 1280
    assert [layer.weights_shape for layer in deep.head] == [(1, 1, 1280, 9), (1, 1, 9, 3)]
    assert deep.variables(logits=False) == plain.variables(logits=False)
    assert deep.num_parameters(logits=False) == plain.num_parameters(logits=False)
    more = (1280 + 1) * 9 + (9 + 1) * 3 - (1280 + 1) * 3
    assert deep.num_parameters(logits=True) == plain.num_parameters(logits=True) + more
    more = 1280 * 9 + 9 * 3 - 1280 * 3
    assert deep.multiply_adds(96, 96) == plain.multiply_adds(96, 96) + more
    assert deep.multiply_adds(96, 96, logits=False) == plain.multiply_adds(96, 96, logits=False)
