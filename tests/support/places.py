"""Where the tests find things."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"  # reference material beside the checkout, too big to be part of it
DATA = TESTS / "data"
EXAMPLES = ROOT / "examples"
