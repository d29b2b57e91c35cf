"""The page in a real browser: names with HTML in them stay text, and nothing runs or is fetched."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

import http_server
from classifier_support import random_classifier
from evaluation_support import called, evaluation
from mobilenet_hub.evaluation.records import Curve, Listing, Report
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.sources.items import BytesItem
from mobilenet_hub.settings import ClassifierSettings
from pictures import encoded

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def seen(url, profile):
    """The page as the browser has it after a while, as HTML."""
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run([CHROMIUM, *flags, url], capture_output=True, text=True, check=True)
    return done.stdout


def evil(url):
    return (
        f'"></title></style><script>document.title="owned"</script><img src="{url}/stolen.png" '
        f"onerror=\"document.title='owned'\"><style>body{{background:url({url}/stolen.css)}}</style>"
        f"{{{{ 7 * 7 }}}});--photo:url({url}/stolen.jpg)"
    )


def hostile_report(name):
    labels = (name, f"{name} 2")
    of = replace(
        called([0, 1], [1, 0], 2),
        items=[BytesItem(f"{name}/{at}", "", encoded(at)) for at in (0, 1)],
    )
    return Report(
        name, labels, (evaluation(of), replace(evaluation(of), name=name)), of,
        curves=(Curve(name, name, name, (1, 2), {name: (1, 2), "b": (2, 1)}),),
        notes=(name,), listings=(Listing(name, name, (name,), [(name,)]),),
        facts={name: {name: name}},
    ), InferenceModule(
        "google/imagenet/mobilenet_v1_025_128/classification",
        weights=random_classifier(ClassifierSettings(labels)),
    )  # fmt: skip


def test_names_with_html_in_them_stay_text(tmp_path):
    with http_server.serving() as server:
        name = evil(server.url)
        page = render_report(*hostile_report(name))
        unescaped = f'<!doctype html><title>x</title><p title="{name}">'.encode()
        report = server.on("/report.html", http_server.file(page))
        trap = server.on("/trap.html", http_server.file(unescaped))
        shown = seen(report, tmp_path / "profile")
        fetched = {request.path for request in server.requests} - {"/favicon.ico"}
        assert fetched == {"/report.html"}
        assert "<script" not in shown
        assert "owned</title>" not in shown
        assert shown.count("&lt;script&gt;") > 10
        assert "background" in shown
        trapped = seen(trap, tmp_path / "profile")  # the same name does harm where it can
        assert "owned</title>" in trapped
        assert {"/stolen.png", "/stolen.css"} <= {request.path for request in server.requests}
