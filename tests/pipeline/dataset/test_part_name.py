"""Names of parts, however many."""

from __future__ import annotations

from dataset_support import assert_rows, expected, read, write
from pictures import write_pictures


def test_parts_beyond_99999_follow_those_below(folder, module):
    write(folder / "out", module)
    for place in ("out", "out/_manifest"):
        for at in (0, 1, 2):
            path = folder / place / f"part-{at:05d}.parquet"
            path.rename(path.with_name(f"part-{99_998 + at}.parquet"))
    write_pictures(folder / "photos", 1, start=50)
    assert write(folder / "out", module).counts.done == 1
    assert_rows(read(folder / "out"), expected(module))
    names = sorted(path.name for path in (folder / "out").glob("part-1*"))
    assert names == ["part-100000.parquet", "part-100001.parquet"]
