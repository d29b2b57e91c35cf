"""What all readers share: folded batch norm, files that are none."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.archive import read_archive
from mobilenet_hub.weights.readers.base import folded_batch_norm
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite


def test_a_folded_batch_norm_reproduces_kernel_and_bias_bit_for_bit():
    rng = np.random.default_rng(0)
    kernel = (rng.standard_normal(1_000_000) * 10.0 ** rng.uniform(-30, 30, 1_000_000)).astype("f4")
    bias = rng.standard_normal(4).astype(np.float32)
    for scale in (None, rng.standard_normal(4).astype(np.float32)):
        statistics = folded_batch_norm(bias, scale)
        for dtype in (np.float32, np.float64):
            gamma, beta, mean, variance = (statistics[n].astype(dtype) for n in statistics)
            factor = gamma / np.sqrt(variance + dtype(0.001))
            if scale is None:
                folded = (kernel.astype(dtype) * factor[0]).astype(np.float32)
                assert folded.tobytes() == kernel.tobytes()
            else:
                assert factor.astype(np.float32).tobytes() == scale.tobytes()
            assert (beta - mean * factor).astype(np.float32).tobytes() == bias.tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
@pytest.mark.parametrize("reader", [read_frozen_graph, read_tflite, read_archive])
def test_a_pipe_or_directory_is_refused_and_never_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(WeightsError, match="regular file"):
            reader(path)
    with pytest.raises(WeightsError):
        reader("a\0b")


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    for reader in (read_checkpoint, read_frozen_graph, read_tflite, read_archive, read_saved_model):
        with pytest.raises(WeightsError):
            reader(path)
    assert not (tmp_path / "owned").exists()
