"""Weights from files into the cache, and into other formats."""

from __future__ import annotations

from mobilenet_hub.weights import readers
from weights_support import INFO, equal, weights_of


def test_what_is_converted_is_read_again_with_its_provenance(tmp_path):
    from mobilenet_hub.conversion.importing import convert_file

    source = tmp_path / "a.safetensors"
    weights_of(INFO).save(source)
    path, _ = convert_file(source, "safetensors", output=tmp_path / "b.safetensors")
    again = readers.read(path)
    assert equal(again, weights_of(INFO))
    assert again.metadata["handle"] == INFO.handle
    assert again.metadata["source"] == "x"
