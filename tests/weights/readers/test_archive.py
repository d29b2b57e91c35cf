"""Archives are unpacked by what they hold, and nothing in them decides where or how much."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers import archive
from mobilenet_hub.weights.readers.archive import read_archive
from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model

V1, V2 = network("mobilenet_v1", 0.01, 5), network("mobilenet_v2", 0.01, 5)  # kilobytes
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def random_tensors(net, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(s, np.float32) for name, s in net.variables(logits=True).items()}


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    assert all(tensors[name].tobytes() == array.tobytes() for name, array in expected.items())


def write_saved_model(folder, tensors, kind):
    """A TF1 hub module, a TF1 SavedModel or a TF2 one, without the graph that nobody reads."""
    if kind == "TF2 SavedModel":
        keys = {name: f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i, name in enumerate(tensors)}
        bundle = {keys[name]: array for name, array in tensors.items()}
        bundle["_CHECKPOINTABLE_OBJECT_GRAPH"] = tff.object_graph(keys)
    else:
        bundle = {f"module/{name}": array for name, array in tensors.items()}
    tff.write_bundle(folder / "variables" / "variables", bundle, shards=2)
    (folder / "saved_model.pb").write_bytes(b"")
    if kind == "TF1 hub module":
        (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")


def pack(path, files, mode="w:gz", tar_format=tarfile.PAX_FORMAT):
    """An archive of (name in it, bytes or TarInfo)."""
    with tarfile.open(path, mode, format=tar_format) as tar:
        for name, content in files:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def checkpoint_files(folder, tensors, prefix="./mobilenet_v1_1.0_224.ckpt"):
    tff.write_bundle(folder / "ckpt", tensors, shards=2)
    return [
        (prefix + path.name.removeprefix("ckpt"), path.read_bytes())
        for path in sorted(folder.glob("ckpt.*"), reverse=True)
    ]


# SavedModels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TF1 hub module", "TF1 SavedModel", "TF2 SavedModel"])
def test_a_saved_model_is_read_from_its_folder_and_from_an_archive(tmp_path, kind):
    tensors = random_tensors(V2)
    write_saved_model(tmp_path / "module", tensors, kind)
    for path in (tmp_path / "module", tmp_path / "module" / "saved_model.pb"):
        reading = read_saved_model(path)
        assert reading.format == kind
        assert_equal(reading.tensors, tensors)
    with tarfile.open(tmp_path / "module.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "module", ".")
    reading = read_archive(tmp_path / "module.tar.gz")
    assert reading.format == kind
    assert reading.files == (tmp_path / "module.tar.gz",)
    assert_equal(reading.tensors, tensors)


def test_an_incomplete_saved_model_says_what_it_should_be(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds saved_model\.pb and variables/"):
        read_saved_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"variables\.index"):
        read_saved_model(tmp_path)
    (tmp_path / "tfhub_module.pb").write_bytes(b"\x08\x04")
    with pytest.raises(WeightsError, match=r"hub format 3\. Received: 4"):
        read_saved_model(tmp_path)


def test_an_object_graph_that_names_a_variable_twice_is_refused(tmp_path):
    tensors = random_tensors(V2)
    keys = {name: f"variables/{i}" for i, name in enumerate(tensors)}
    twice = tff.object_graph(keys) + tff.object_graph({"MobilenetV2/Conv/weights": "x"})
    bundle = {keys[name]: array for name, array in tensors.items()}
    bundle["_CHECKPOINTABLE_OBJECT_GRAPH"] = twice
    tff.write_bundle(tmp_path / "variables" / "variables", bundle)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(WeightsError, match="MobilenetV2/Conv/weights twice"):
        read_saved_model(tmp_path)


# What is in an archive ---------------------------------------------------------------------------


@pytest.mark.parametrize("tar_format", FORMATS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize(
    "prefix", ["./x.ckpt", "a/" * 60 + "x.ckpt", "été/x.ckpt-300000", "/x.ckpt"]
)
def test_a_published_checkpoint_archive_is_read(tmp_path, mode, tar_format, prefix):
    tensors = random_tensors(V1)
    others = [
        ("./x.ckpt.meta", b"m"), ("./x_eval.pbtxt", b"e"), ("./x_frozen.pb", b"f"),
        ("./x.tflite", b"t"), ("./._x.ckpt.index", b"macOS"), ("./x_info.txt", b"i"),
    ]  # fmt: skip
    files = checkpoint_files(tmp_path, tensors, prefix) + others
    path = pack(tmp_path / "x.tgz", files, mode, tar_format)
    reading = read_archive(path)
    assert reading.format == "TensorFlow checkpoint"
    assert_equal(reading.tensors, tensors)


def test_an_archive_of_a_frozen_graph_or_a_tflite_file_is_read(tmp_path):
    tensors = random_tensors(V1)
    graph = tff.graph_def(tff.frozen_network(V1, tensors))
    files = [("labels.txt", b"l"), ("m/frozen_graph.pb", graph), ("m/x.tflite", b"t")]
    reading = read_archive(pack(tmp_path / "x.tgz", files))
    assert reading.format == "frozen TensorFlow graph"
    assert_equal(reading.tensors, tensors)
    files = [("labels.txt", b"l"), ("x.tflite", tff.tflite_network(V1, tensors))]
    assert read_archive(pack(tmp_path / "x.tgz", files)).format == "TFLite file"


def test_moving_averages_are_chosen_in_an_archive_too(tmp_path):
    tensors, name = random_tensors(V1), "MobilenetV1/Conv2d_0/weights"
    average = tensors[name] + 1
    files = checkpoint_files(tmp_path, tensors | {f"{name}/ExponentialMovingAverage": average})
    path = pack(tmp_path / "x.tgz", files)
    assert_equal(read_archive(path).tensors, tensors)
    assert_equal(read_archive(path, use_ema=True).tensors, tensors | {name: average})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no files"),
        ([("photo.jpg", b"x"), ("weights.pth", b"x")], r"must hold a SavedModel.*weights\.pth"),
        ([("a/x.ckpt.index", b""), ("b/x.ckpt.index", b"")], "several checkpoints.*a/x.*b/x"),
        ([("a/saved_model.pb", b""), ("saved_model.pb", b"")], "several SavedModels"),
        ([("a.pb", b""), ("b.pb", b"")], "several frozen graphs"),
        ([("x.ckpt.index", b"not a table")], "LevelDB table"),
        ([("x.pb", b"\xff")], "In .*varint"),
        ([("x.pb", b""), ("./x.pb", b"")], "several|twice"),
    ],
)
def test_an_archive_without_one_thing_to_read_is_refused(tmp_path, files, message):
    with pytest.raises(WeightsError, match=message):
        read_archive(pack(tmp_path / "x.tgz", files))


# What an archive must not do ---------------------------------------------------------------------


def special(kind, **fields):
    info = tarfile.TarInfo()
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    "prefix", ["../../x.ckpt", "/etc/x.ckpt", "a/../../../x.ckpt", "..\\..\\x.ckpt", "C:\\x.ckpt"]
)
def test_a_path_in_an_archive_never_leaves_the_temporary_folder(tmp_path, monkeypatch, prefix):
    room = tmp_path / "a" / "b" / "c"
    room.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    tensors = random_tensors(V1)
    path = pack(tmp_path / "x.tgz", checkpoint_files(tmp_path, tensors, prefix))
    before = sorted(tmp_path.rglob("*"))
    assert_equal(read_archive(path).tensors, tensors)
    assert sorted(tmp_path.rglob("*")) == before  # and nothing is left behind


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_stepped_over(tmp_path, kind):
    tensors = random_tensors(V1)
    files = checkpoint_files(tmp_path, tensors)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    link = special(kind, linkname=str(secret))
    named_as_wanted = special(kind, linkname=str(secret))
    traps = [("frozen.pb", link), (files[0][0], named_as_wanted), ("x", special(tarfile.DIRTYPE))]
    assert_equal(read_archive(pack(tmp_path / "x.tgz", traps + files)).tensors, tensors)
    with pytest.raises(WeightsError, match="must hold"):
        read_archive(pack(tmp_path / "y.tgz", traps))


def test_the_temporary_folder_is_private_and_goes_away_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    seen = []

    def spy(path, _):
        seen.append(oct(path.parent.stat().st_mode & 0o777))
        raise WeightsError("no. Received: nothing")

    monkeypatch.setattr(archive, "read_checkpoint", spy)
    path = pack(tmp_path / "x.tgz", checkpoint_files(tmp_path, random_tensors(V1)))
    with pytest.raises(WeightsError, match=r"In .*: no"):
        read_archive(path)
    assert seen == ["0o700"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_bomb_is_refused_by_its_unpacked_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = [("x.pb", bytes(2 << 20))]
    with pytest.raises(WeightsError, match="at most 1,048,576 bytes unpacked"):
        read_archive(pack(tmp_path / "x.tgz", bomb))
    many = [(f"{i}", bytes(1000)) for i in range(2000)]
    with pytest.raises(WeightsError, match="at most 1,048,576 bytes unpacked"):
        read_archive(pack(tmp_path / "x.tgz", many))
    after = gzip.compress(tar_header(b"x", 0) + bytes(4 << 20))
    (tmp_path / "x.tgz").write_bytes(after)
    with pytest.raises(WeightsError, match="at most 1,048,576 bytes unpacked"):
        read_archive(tmp_path / "x.tgz")


def tar_header(name, size, kind=b"0", **fields):
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    header[156:157] = kind
    for start, value in fields.items():
        header[int(start[1:]) : int(start[1:]) + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


MEMBER = tar_header(b"x", 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "whole"),
        (b"PK\3\4" + bytes(2000), "checksum"),
        (bytes(1024), "no files"),
        (tar_header(b"x", 100), "whole"),
        (tar_header(b"x", b"\x80" + b"\0" * 4 + b"\x01" * 7), "unpacked"),
        (tar_header(b"x", b"\xff" * 12), "size of at least 0"),
        (tar_header(b"x", b"-0000000001\0"), "octal"),
        (tar_header(b"x", 1 << 30, b"L"), "headers of at most"),
        (tar_header(b"x", 1 << 30, b"x"), "headers of at most"),
        (tar_header(b"x", 12, b"x") + b"999 path=abc".ljust(512, b"\0"), "pax header"),
        (tar_header(b"x", 12, b"x") + b"0 path=abcd\n".ljust(512, b"\0"), "pax header"),
        (tar_header(b"x", 12, b"x") + b"12 size=-10\n".ljust(512, b"\0") + MEMBER, "size in a pax"),
        (tar_header(b"x", 0, b"S"), "sparse"),
        (tar_header(b"x", 2000, b"L") + b"n" * 2048 + tar_header(b"x", 0), "names of at most"),
        (
            tar_header(b"x", 26, b"x") + b"26 GNU.sparse.realsize=10\n".ljust(512, b"\0") + MEMBER,
            "sparse",
        ),
        (tar_header(b"x", 0)[:-1] + b"x", "checksum"),
        (tar_header(b"x", 0) * 10_001, "at most 10000 members"),
        (tar_header(b"x", 0, b"L") * 17, "at most 16 headers for a member"),
    ],
)
def test_an_unsound_archive_is_refused_with_the_reason(tmp_path, data, message):
    for name, content in (("x.tar", data), ("x.tgz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_archive(tmp_path / name)


def test_a_damaged_download_is_noticed_wherever_it_is_damaged(tmp_path):
    path = pack(tmp_path / "x.tgz", checkpoint_files(tmp_path, random_tensors(V1)))
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_archive(path)
    for position in range(64, len(whole), len(whole) // 60):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(WeightsError):
            read_archive(path)
