"""What docs/precision.md says of int8 is what the certificates inside the package say."""

from __future__ import annotations

import re

import pytest

from mobilenet_hub.weights.storage.calibrations import load_calibration
from places import ROOT
from weights_support import load_bundled

KEYS = {
    "V2 1.4": "mobilenet_v2_140_224",
    "V2 1.0": "mobilenet_v2_100_224",
    "V2 0.35": "mobilenet_v2_035_224",
    "V1 0.25": "mobilenet_v1_025_224",
}


@pytest.mark.parametrize("network", KEYS)
def test_the_table_is_that_of_the_certificates(network):
    text = (ROOT / "docs" / "precision.md").read_text("utf-8")
    (line,) = re.findall(rf"^\| {re.escape(network)} \| (.*) \|$", text, re.MULTILINE)
    cosine, least, recall, same, lost = (cell.strip() for cell in f"{line} ".split("|"))
    certificate = load_calibration(load_bundled(KEYS[network]), (224, 224)).certificates[0]
    assert (cosine, least) == (f"{certificate.cosine:.4f}", f"{certificate.least_cosine:.3f}")
    assert recall == f"{100 * certificate.recall:.1f} %"
    if certificate.agreement is None:
        assert same == lost == ""
        return
    low, high = (100 * bound for bound in certificate.top1_interval)
    assert same == f"{100 * certificate.agreement:.0f} %"
    words = f"{100 * certificate.top1_loss:.0f} points ({low:.1f} to {high:.1f})"
    assert lost == words.replace("-", "−")
