"""A small network, and a folder of ten photos to be in."""

from __future__ import annotations

import pytest

import mobilenet_hub as hub
from pictures import SMALL, write_pictures


@pytest.fixture(scope="module")
def module():
    return hub.Module(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 10)
    return tmp_path
