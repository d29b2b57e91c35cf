"""The hash that copies of a picture share."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.images import Preprocessing
from mobilenet_hub.pipeline.perceptual_hash import BYTES, as_unit_vectors, perceptual_hash
from pictures import encoded


def differing_bits(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_bits_say_where_it_gets_brighter_to_the_right():
    ramp = np.broadcast_to(np.linspace(0, 255, 170)[None, :, None], (160, 170, 3))
    assert perceptual_hash(ramp.astype(np.uint8)) == b"\xff" * BYTES
    assert perceptual_hash(ramp[:, ::-1].astype(np.uint8)) == bytes(BYTES)
    halves = np.zeros((160, 170, 3), np.uint8)
    halves[80:] = ramp[80:]
    assert perceptual_hash(halves) == bytes(BYTES // 2) + b"\xff" * (BYTES // 2)


@pytest.mark.parametrize("shape", [(16, 17), (8, 8), (1, 1), (97, 131)])
def test_any_size_has_a_hash_and_noise_of_an_even_picture_is_nothing(shape):
    noise = np.random.default_rng(0).integers(128, 130, (*shape, 3), np.uint8)
    assert perceptual_hash(noise) == bytes(BYTES)


def test_floats_and_integers_have_one_hash():
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    assert differing_bits(perceptual_hash(pixels), perceptual_hash(np.float32(pixels) / 255)) <= 1


def test_copies_differ_in_few_bits_and_other_pictures_in_many():
    preprocess = Preprocessing(224, 224)
    for seed in range(5):
        original, copy, other = (
            perceptual_hash(preprocess(data))
            for data in (
                encoded(seed, size=(640, 480)),
                encoded(seed, "PNG", size=(320, 240)),
                encoded(seed + 100, size=(640, 480)),
            )
        )
        assert differing_bits(original, copy) <= 16
        assert differing_bits(original, other) > 50


def test_the_cosine_of_vectors_counts_bits():
    one, other = bytes(BYTES), b"\xff\x00" * (BYTES // 2)
    vectors = as_unit_vectors([one, one, other])
    np.testing.assert_allclose(vectors @ vectors.T, [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-6)
