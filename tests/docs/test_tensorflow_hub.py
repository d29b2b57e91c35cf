"""The table "tensorflow_hub name -> here" names every public name, and every name is here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile

import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import UnsupportedError
from mobilenet_hub.tensorflow_hub.authors import REASONS
from places import ROOT


def documented():
    text = (ROOT / "docs" / "tensorflow_hub.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_name_of_the_table_is_there():
    assert documented() <= {*hub.__all__, *REASONS}


@pytest.mark.parametrize("name", sorted(REASONS))
def test_names_for_authors_text_and_estimators_say_why_they_do_nothing(name):
    with pytest.raises(UnsupportedError, match=f"{name} is not supported: .+ Received"):
        getattr(hub, name)("anything")


@pytest.mark.registry
@pytest.mark.parametrize("version", ["0.12.0", "0.16.1"])
def test_the_table_names_what_the_wheel_exports(tmp_path, version):
    command = ["-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    subprocess.run([sys.executable, *command, f"tensorflow_hub=={version}"], check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read("tensorflow_hub/__init__.py"))
    imported = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    names = {alias.asname or alias.name for node in imported for alias in node.names}
    public = {name for name in names if not name.startswith("_")} - {"tools"}
    assert len(public) >= 3
    assert public <= documented()
    if version == "0.12.0":
        assert documented() == public | {"__version__"}
