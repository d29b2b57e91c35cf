"""`list` and `info`."""

from __future__ import annotations

import json

import pytest

from commands import mobilenet_hub_command as run


def test_list_shows_the_newest_of_every_module():
    lines = run("list").stdout.splitlines()
    assert lines[0].split("\t")[0] == "handle"
    assert len(lines) == 1 + 2 * 38 + 2
    assert len(run("list", "--all-versions").stdout.splitlines()) == 1 + 356


def test_list_filters():
    rows = json.loads(run("list", "*v2_140*", "--json").stdout)
    assert [row["handle"] for row in rows] == [
        "google/imagenet/mobilenet_v2_140_224/classification/5",
        "google/imagenet/mobilenet_v2_140_224/feature_vector/5",
    ]
    assert all(row["weights_here"] for row in rows)


def test_info_shows_published_and_computed_figures():
    text = run("info", "google/imagenet/mobilenet_v1_075_224/feature_vector").stdout
    assert "317 M published" in text
    assert "M computed" in text
    assert "mobilenet_v1_0.75_224.tgz" in text


def test_info_says_what_bundled_weights_are():
    facts = json.loads(
        run("info", "google/imagenet/mobilenet_v1_025_224/classification", "--json").stdout
    )
    assert "2018_02_22" in json.dumps(facts["weights"])
    assert len(facts["weights"]["sha256"]) == 64


def test_an_unknown_handle_is_one_line_on_standard_error():
    done = run("info", "google/imagenet/mobilenet_v9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Unknown module handle")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["no-such-command"]])
def test_wrong_usage_ends_with_2(arguments):
    assert run(*arguments).returncode == 2


def test_version_is_printed():
    from mobilenet_hub import __version__

    assert run("--version").stdout.strip() == f"mobilenet-hub {__version__}"
