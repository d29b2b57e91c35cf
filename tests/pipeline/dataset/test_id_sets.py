"""Sets of digests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest


@given(st.lists(st.integers(0, 30_000), max_size=200), st.integers(1, 20_000))
def test_a_digest_set_is_a_set(values, many):
    digests = DigestSet(digest("many", i) for i in range(0, many, 100))
    added = set()
    for value in values:
        assert digests.add(digest(value)) == (value not in added)
        added.add(value)
    assert all(digest(value) in digests for value in added)
    assert digest("never") not in digests
    assert len(digests) == len(added) + len(range(0, many, 100))


def test_a_large_digest_set_still_knows_its_members():
    digests = DigestSet(digest(i) for i in range(30_000))
    assert len(digests) == 30_000
    assert all(digest(i) in digests for i in range(0, 30_000, 37))
    assert not any(digest(i) in digests for i in range(30_000, 31_000))
