"""Records of what is measured: arrays that do not fit each other are refused at once."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.records import Evaluation, Predictions, Report
from mobilenet_hub.pipeline.sources.items import FileItem

ITEMS = [FileItem("a.jpg"), FileItem("b.jpg")]
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.2, 0.3, 0.5]], np.float32)
TRUTH = np.array([0, 2])


def test_classes_as_numbers_or_as_several_labels_a_photo():
    assert not Predictions(ITEMS, TRUTH, PROBABILITIES).multi_label
    assert Predictions(ITEMS, PROBABILITIES > 0.4, PROBABILITIES).multi_label


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": ITEMS[:1]},
        {"truth": np.array([0])},
        {"truth": np.array([0, 3])},
        {"truth": np.array([-1, 0])},
        {"truth": np.array([0.0, 1.0])},
        {"truth": np.zeros((2, 2), bool)},
        {"probabilities": PROBABILITIES[0]},
        {"uncalibrated": PROBABILITIES[:1]},
        {"reject_scores": np.zeros(3, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong):
    fitting = {"items": ITEMS, "truth": TRUTH, "probabilities": PROBABILITIES}
    with pytest.raises(InputError, match=r"expected .* Received: "):
        Predictions(**{**fitting, **wrong})


def test_a_report_needs_an_evaluation_and_a_label_for_each_class():
    test = Evaluation("test", "", Predictions(ITEMS, TRUTH, PROBABILITIES))
    assert Report("title", ("a", "b", "c"), (test,)).evaluations == (test,)
    with pytest.raises(InputError, match="expected 3 labels"):
        Report("title", ("a", "b"), (test,))
    with pytest.raises(InputError, match="needs an evaluation"):
        Report("title", ("a", "b", "c"), ())
