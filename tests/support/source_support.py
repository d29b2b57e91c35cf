"""What the tests of sources share."""

from __future__ import annotations

import io
import tarfile

from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions

LIMIT = 1 << 20


def ids(source, **options):
    return [item.id for item in open_sources(source, SourceOptions(**options)).items()]


def contents(source, **options):
    opened = open_sources(source, SourceOptions(**options))
    return {item.id: item.read(LIMIT)[0] for item in opened.items()}


def make_tar(path, members, **options):
    with tarfile.open(path, "w" if str(path).endswith(".tar") else "w:gz", **options) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1234
            tar.addfile(info, io.BytesIO(data))
