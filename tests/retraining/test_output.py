"""The files of a training."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mobilenet_hub.evaluation.suspects import Suspect
from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.retraining.output import write_suspects
from mobilenet_hub.retraining.records import Data


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_name_is_a_formula_to_a_spreadsheet(tmp_path, first):
    name = f'{first}HYPERLINK("http://evil.example","bees")'
    items = (FileItem("1.png", f"{first}1.png"), FileItem("2.png", "plain/2.png"))
    data = Data(("ants", name), items, np.array([0, 1]))
    suspects = [Suspect(0, 1, 0, 0.1, 0.9), Suspect(1, 0, 1, 0.2, 0.8)]
    write_suspects(tmp_path / "suspects.csv", suspects, data)
    with (tmp_path / "suspects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[:3] for row in rows] == [
        [f"'{first}1.png", f"'{name}", "ants"], ["plain/2.png", "ants", f"'{name}"],
    ]  # fmt: skip
