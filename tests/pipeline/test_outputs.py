"""From outputs to probabilities and likely classes."""

from __future__ import annotations

import numpy as np

from mobilenet_hub.pipeline.outputs import softmax, top_k


def test_top_k_breaks_ties_by_index_and_softmax_survives_large_logits():
    indices, scores = top_k(np.float32([[1, 3, 3, 0]]), 3)
    assert indices.tolist() == [[1, 2, 0]]
    assert scores.tolist() == [[3, 3, 1]]
    np.testing.assert_array_equal(softmax(np.float32([[1000, 1000]])), [[0.5, 0.5]])
