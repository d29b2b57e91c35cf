"""`fetch`, `import`, `convert` and `cache`, as people and programs call them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import http_server as web
import tensorflow_files as tff
from commands import mobilenet_hub_command
from keras_files import as_tensorflow_js, numbers, write_tensorflow_js
from mobilenet_hub.catalog import find
from mobilenet_hub.networks import network
from mobilenet_hub.retraining.data.feature_cache import FeatureCache
from mobilenet_hub.runtime.compiled_cache import compiled_graphs, write_compiled
from mobilenet_hub.weights import Weights
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.base import folded_batch_norm
from mobilenet_hub.weights.storage.cache import Cache
from weights_support import load_bundled

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/5")
KEY = INFO.checkpoint_key


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    for variable in ("TFHUB_CACHE_DIR", "MOBILENET_HUB_LOCK", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def mirror(monkeypatch):
    with web.serving() as server:
        monkeypatch.setenv("MOBILENET_HUB_MIRROR", server.url)
        monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "0")
        yield server


def run(*arguments, **env):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        return mobilenet_hub_command(*arguments)


def archive(info, path=Path("a.tgz"), seed=1):
    prefix = path.with_suffix("") / "model.ckpt"
    tff.write_bundle(prefix, dict(random_weights(info.network, seed=seed).tensors))
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file in sorted(prefix.parent.iterdir()):
            tar.add(file, file.name)
    return path


def test_fetch_downloads_pins_and_says_what_it_got(mirror):
    mirror.on(f"/{INFO.checkpoint_name}.tgz", web.file(archive(INFO).read_bytes()))
    done = run("fetch", INFO.url, "--lock", "mobilenet-hub.lock", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (facts,) = json.loads(done.stdout)
    assert facts["checkpoint"] == KEY
    assert facts["source"] == f"{mirror.url}/{INFO.checkpoint_name}.tgz"
    assert facts["license"].startswith("not known: from a mirror")
    assert read(facts["path"]).tensors.keys() == INFO.network.variables(logits=True).keys()
    assert KEY in json.loads(Path("mobilenet-hub.lock").read_text())["weights"]
    assert run("fetch", INFO.handle).returncode == 0
    assert len(mirror.requests) == 1
    assert f"{KEY}\t1.9\tyes" in run("cache", "list").stdout
    assert "weights: sha256" in run("info", INFO.handle).stdout


def test_fetch_of_several_goes_on_after_a_failure_and_ends_with_1(mirror):
    other = find("google/imagenet/mobilenet_v1_025_160/feature_vector/5")
    mirror.on(f"/{INFO.checkpoint_name}.tgz", web.file(archive(INFO).read_bytes()))
    done = run("fetch", other.handle, INFO.handle)
    assert done.returncode == 1
    assert KEY in done.stdout
    assert f"{mirror.url}/{other.checkpoint_name}.tgz: HTTP status 404" in done.stderr
    assert "1 could not be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_fetch_all_asks_for_every_checkpoint_once(mirror):
    done = run("fetch", "--all")
    assert done.returncode == 1
    assert "38 could not be fetched" in done.stderr
    assert len({request.path for request in mirror.requests}) == len(mirror.requests) == 38


def test_fetch_wants_modules_or_all_of_them():
    assert run("fetch").returncode == 2
    assert run("fetch", "--all", INFO.handle).returncode == 2


def test_fetch_without_a_network_is_an_error_of_a_few_lines():
    done = run("fetch", INFO.handle, MOBILENET_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: The weights of google/imagenet/mobilenet_v1_025_128")
    assert INFO.checkpoint_url in done.stderr


def test_what_is_pinned_and_is_another_is_an_error_until_repinned(mirror):
    url = f"/{INFO.checkpoint_name}.tgz"
    mirror.on(url, web.file(archive(INFO).read_bytes()))
    run("fetch", INFO.handle, "--lock", "mobilenet-hub.lock")
    mirror.on(url, web.file(archive(INFO, Path("b.tgz"), seed=2).read_bytes()))
    done = run("fetch", INFO.handle, "--force")
    assert done.returncode == 1
    assert "--repin" in done.stderr
    assert run("fetch", INFO.handle, "--force", "--repin").returncode == 0
    assert run("fetch", INFO.handle, "--force").returncode == 0


def test_import_asks_for_the_module_and_takes_it(tmp_path):
    random_weights(INFO.network).save(tmp_path / "some.safetensors")
    done = run("import", tmp_path / "some.safetensors")
    assert done.returncode == 1
    assert "--as HANDLE" in done.stderr
    assert INFO.handle in done.stderr
    done = run("import", tmp_path / "some.safetensors", "--as", INFO.handle, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["handle"] == INFO.handle
    assert run("list", "--here", KEY).stdout.count("here") == 2


def test_import_knows_a_published_archive_by_its_name():
    path = archive(INFO, Path("mobilenet_v1_0.25_128.tgz"))
    assert run("import", path).returncode == 0
    assert Cache().get(KEY).metadata["source"] == f"{path} (TensorFlow checkpoint)"


def test_import_calibrates_folded_networks():
    weights = load_bundled("mobilenet_v1_025_224")
    tensors = dict(weights.tensors)
    for layer in weights.network.convolutions:
        statistics = folded_batch_norm(tensors[layer.batch_norm_name("beta")])
        tensors |= {layer.batch_norm_name(name): value for name, value in statistics.items()}
    Weights(weights.network, tensors, {"handle": weights.metadata["handle"]}).save("f.safetensors")
    done = run("import", "f.safetensors")
    assert done.returncode == 0
    assert "27 layers have batch norm folded" in done.stderr
    Path("photos").mkdir()
    for index in range(10):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (60, 60, 3), np.uint8)).save(
            f"photos/{index}.png"
        )
    Path("photos/x.jpg").write_bytes(b"\xff\xd8\xff")
    done = run("import", "f.safetensors", "--batch-norm-photos", "photos", "--json")
    assert done.returncode == 0
    assert "skipped" in done.stderr
    assert "10 photos" in json.loads(done.stdout)[0]["batch_norm_statistics"]


def test_convert_writes_what_is_read_again():
    expected = load_bundled("mobilenet_v2_035_224")
    handle = "google/imagenet/mobilenet_v2_035_224/feature_vector/5"
    done = run("convert", handle, "--to", "safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    path = Path(done.stdout.strip())
    assert path == Path("mobilenet_v2_035_224.safetensors")
    again = read(path)
    assert all(again.tensors[n].tobytes() == t.tobytes() for n, t in expected.tensors.items())
    assert again.metadata["license"] == expected.metadata["license"]


def test_convert_to_keras_gives_a_model_of_keras():
    pytest.importorskip("keras")
    handle = "google/imagenet/mobilenet_v1_025_224/classification/5"
    done = run("convert", handle, "--to", "keras", "--output", "m.keras")
    assert done.returncode == 0, done.stderr
    expected = load_bundled("mobilenet_v1_025_224")
    again = read("m.keras")
    assert all(again.tensors[n].tobytes() == t.tobytes() for n, t in expected.tensors.items())
    assert list(Path().glob(".*")) == []


@pytest.mark.parametrize(("flags", "value"), [([], 2), (["--ema"], 2), (["--no-ema"], 1)])
def test_moving_averages_are_taken_for_v2_unless_told_otherwise(flags, value):
    net = find("google/imagenet/mobilenet_v2_035_96/classification/5").network
    tensors = {n: np.ones(shape, np.float32) for n, shape in net.variables(logits=True).items()}
    averages = {f"{name}/ExponentialMovingAverage": 2 * t for name, t in tensors.items()}
    tff.write_bundle(Path("m.ckpt"), tensors | averages)
    assert run("convert", "m.ckpt", "--to", "safetensors", *flags).returncode == 0
    assert (read("m.safetensors").tensors["MobilenetV2/Conv/weights"] == value).all()


def test_a_file_without_the_variables_that_are_asked_for_is_refused():
    net = find("google/imagenet/mobilenet_v2_035_96/classification/5").network
    tensors = {n: np.ones(shape, np.float32) for n, shape in net.variables(logits=True).items()}
    averages = {f"{name}/ExponentialMovingAverage": 2 * t for name, t in tensors.items()}
    tff.write_bundle(Path("m.ckpt"), tensors | averages)
    assert run("convert", "m.ckpt", "--to", "safetensors").returncode == 0
    again = ("convert", "m.safetensors", "--to", "safetensors", "--output", "again.safetensors")
    done = run(*again, "--no-ema")
    assert done.returncode == 1
    assert "no variables that are no averages" in done.stderr
    for flags in ([], ["--ema"]):
        done = run(*again, *flags)
        assert done.returncode == 0, done.stderr
    assert (read("again.safetensors").tensors["MobilenetV2/Conv/weights"] == 2).all()
    Path("frozen.pb").write_bytes(tff.graph_def(tff.frozen_network(net, tensors)))
    done = run("convert", "frozen.pb", "--to", "safetensors", "--ema")
    assert done.returncode == 1
    assert "no exponential moving averages" in done.stderr


def test_convert_does_not_replace_its_source():
    random_weights(INFO.network).save("a.safetensors")
    done = run("convert", "a.safetensors", "--to", "safetensors")
    assert done.returncode == 1
    assert "--output" in done.stderr
    assert run("convert", "a.safetensors", "--to", "onnx").returncode == 2


def test_convert_replaces_nothing_but_weights():
    random_weights(INFO.network).save("a.safetensors")
    Path("photo.jpg").write_bytes(b"a photo")
    done = run("convert", "a.safetensors", "--to", "safetensors", "--output", "photo.jpg")
    assert done.returncode == 1
    assert "not named like weights in this format (.safetensors)" in done.stderr
    assert Path("photo.jpg").read_bytes() == b"a photo"


def test_a_pickle_is_refused_in_one_line():
    Path("model.pth").write_bytes(b"\x80\x02}q\x00.")
    done = run("import", "model.pth")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: model.pth is a pickle")


def test_cache_verify_ends_with_1_when_something_is_damaged():
    random_weights(INFO.network).save("a.safetensors")
    run("import", "a.safetensors", "--as", INFO.handle)
    done = run("cache", "verify")
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, f"{KEY}\tsound")
    path = Cache().path(Cache().get(KEY))
    path.write_bytes(path.read_bytes()[:-1])
    done = run("cache", "verify", "--json")
    assert done.returncode == 1
    assert "changed or damaged" in json.loads(done.stdout)[KEY]
    assert str(path) in run("cache", "prune").stdout
    assert run("cache", "verify").returncode == 0


def test_the_cache_knows_the_features_that_retrain_keeps(tmp_path):
    cache = FeatureCache({"handle": "some/module"}, 4, print)
    cache.add([bytes(32)], [bytes(32)], np.zeros((1, 4), np.float32))
    (line,) = [x for x in run("cache", "list").stdout.splitlines() if "some/module" in x]
    assert line.split("\t")[1:] == ["0.0", "1", "some/module"]
    listed = json.loads(run("cache", "list", "--json").stdout)
    assert listed[-1]["photos"] == 1 and listed[-1]["handle"] == "some/module"
    assert run("cache", "prune").stdout == ""
    (removed,) = run("cache", "prune", "--features-limit", "0").stdout.split()
    assert removed.endswith(".safetensors") and not Path(removed).exists()


def test_the_cache_shows_compiled_graphs_and_removes_them_with_all_else():
    write_compiled('{"openvino": "2026.4"}', memoryview(b"compiled"))
    [graph] = compiled_graphs()
    assert f"{graph.key}\t0.0\t2026.4" in run("cache", "list").stdout
    listed = json.loads(run("cache", "list", "--json").stdout)
    assert listed == [{"compiled": graph.key, "size": graph.size, "openvino": "2026.4"}]
    assert run("cache", "prune").stdout == ""
    assert graph.key in run("cache", "prune", "--all").stdout
    assert compiled_graphs() == []


def test_cache_prune_all_removes_everything_and_path_says_where(tmp_path):
    random_weights(INFO.network).save("a.safetensors")
    run("import", "a.safetensors", "--as", INFO.handle)
    assert run("cache", "path").stdout.strip() == str(tmp_path / "cache")
    assert run("cache", "prune").stdout == ""
    removed = run("cache", "prune", "--all").stdout.split()
    assert [Path(path).name.partition(".")[0] for path in removed] == [KEY, KEY]
    assert Cache().entries() == []


def test_a_classifier_is_imported_into_a_folder_with_its_labels():
    net = network("mobilenet_v2", 0.35, 2)
    folder = Path("mobilenet_v2_0.35_96")
    folder.mkdir()
    write_tensorflow_js(folder, as_tensorflow_js(net, numbers(net, logits=2)[1]))
    Path("names.txt").write_text("0 an\x1b[31mt\n1 bee\n")
    refused = run("import", folder, "--labels", "names.txt")
    assert refused.returncode == 2
    assert "--output" in refused.stderr
    done = run("import", folder, "--output", "insects", "--labels", "names.txt")
    assert (done.returncode, done.stdout) == (0, "insects\n")
    assert "bee" in done.stderr and "\x1b" not in done.stderr
    facts = json.loads(run("import", folder, "-o", "insects", "--json").stdout)
    assert facts["labels"] == ["0", "1"]
    plain = run("import", folder)
    assert plain.returncode == 1
    assert "--output" in plain.stderr
