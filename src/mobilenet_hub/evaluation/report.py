"""`report.html`: all that is known of how good a classifier is, on one page.

```python
page = render_report(report, module)  # bytes; equal for an equal report and module
```

The page is the template `data/pages/report.html`; this file says what goes into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mobilenet_hub.evaluation.calibration import CoveragePoint
from mobilenet_hub.evaluation.drawing import charts
from mobilenet_hub.evaluation.drawing.photos import PhotoCards
from mobilenet_hub.evaluation.metrics import Metrics, measure
from mobilenet_hub.evaluation.records import Curve, Report
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pages.page import render_page
from mobilenet_hub.settings import PreprocessingSettings

_MATRIX_CLASSES = 150  # drawn at most; a matrix of more cannot be read
_PAIRS, _ROWS = 20, 300  # of lists; what is more is counted


def render_report(
    report: Report,
    module: InferenceModule,
    *,
    preprocessing: PreprocessingSettings | None = None,
) -> bytes:
    """The page of a report. Equal reports and modules give equal bytes.

    Args:
        report: what it shows.
        module: the classifier: makes the heat maps of photos that it was wrong about.
        preprocessing: of the photos shown; the module's own by default.
    """
    measured = [
        measure(
            evaluation, report.labels,
            reject_threshold=report.reject_threshold, unknown_scores=report.unknown_scores,
        )
        for evaluation in report.evaluations
    ]  # fmt: skip
    head = measured[0]
    cards = PhotoCards(report.labels, module, preprocessing or module.preprocessing)
    wrong, mistakes = cards.wrong(report.evaluations[0].predictions)
    suspects, suspected = cards.suspects(report.out_of_fold)
    return render_page(
        "report.html",
        title=report.title,
        report=report,
        evaluations=list(zip(report.evaluations, measured, strict=True)),
        evaluation=report.evaluations[0],
        metrics=head,
        interval=charts.interval_chart(
            head.top_1.value, head.top_1.low, head.top_1.high, str(head.top_1)
        ),
        classes=[each for each in head.classes if each.photos or each.predicted],
        matrix=_matrix(head),
        pairs=head.confused()[:_PAIRS],
        pair_count=len(head.confused()),
        reliability=_reliability_charts(head),
        coverage=_coverage(head),
        wrong=wrong,
        mistakes=mistakes,
        has_heat_maps=cards.have_heat_maps,
        suspects=suspects,
        suspected=suspected,
        curves=[(curve, charts.line_chart(curve), _legend(curve)) for curve in report.curves],
        rows_shown=_ROWS,
        facts=_facts(report.facts),
    )


def _matrix(metrics: Metrics) -> dict[str, Any] | None:
    """The confusion matrix of the classes that occur; None where there are none or too many."""
    if metrics.confusion is None:
        return None
    seen = [at for at, each in enumerate(metrics.classes) if each.photos or each.predicted]
    if len(seen) > _MATRIX_CLASSES:
        return None
    labels = [metrics.classes[at].label for at in seen]
    rows = []
    for row in seen:
        counts = metrics.confusion[row, seen].tolist()
        photos = max(metrics.classes[row].photos, 1)
        cells = [
            {"count": count, "share": round(100 * count / photos), "right": row == column,
             "predicted": labels[at]}
            for at, (column, count) in enumerate(zip(seen, counts, strict=True))
        ]  # fmt: skip
        rows.append({"label": metrics.classes[row].label, "cells": cells})
    return {"labels": labels, "rows": rows}


def _reliability_charts(metrics: Metrics) -> list[tuple[str, float, Any]]:
    found = [("as probabilities are given", metrics.calibrated)]
    if metrics.uncalibrated is not None:
        found = [("before temperature", metrics.uncalibrated), ("after", metrics.calibrated)]
    return [(name, each.error, charts.reliability_chart(each, name)) for name, each in found]


def _coverage(metrics: Metrics) -> list[tuple[Curve, Any, list[tuple[str, str]]]]:
    """Accuracy by coverage, as the probability or the reject score chooses what is answered."""
    found: list[Curve] = []
    if metrics.coverage:
        found.append(_coverage_curve("By probability", metrics.coverage, None))
    if metrics.rejection is not None:
        chosen = metrics.rejection.coverage
        found.append(
            _coverage_curve("By likeness to known photos", metrics.rejection_curve, chosen)
        )
    return [(curve, charts.line_chart(curve, shares=True), _legend(curve)) for curve in found]


def _coverage_curve(title: str, points: tuple[CoveragePoint, ...], chosen: float | None) -> Curve:
    lines = {"accuracy of the answers": tuple(point.accuracy for point in points)}
    rejected = [point.rejected for point in points if point.rejected is not None]
    if rejected:
        lines["photos of nothing rejected"] = tuple(rejected)
    coverage = tuple(point.coverage for point in points)
    return Curve(title, "share of photos answered", "share", coverage, lines, chosen=chosen)


def _legend(curve: Curve) -> list[tuple[str, str]]:
    return charts.legend(list(curve.lines))


def _facts(facts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, str]]:
    return {
        heading: {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in values.items()
        }
        for heading, values in facts.items()
    }
