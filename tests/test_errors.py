"""Errors say what was written, and cross processes whole."""

import pickle

import pytest

from mobilenet_hub import errors

EXAMPLES = (
    errors.UnknownHandleError("a/handle", ["another/handle"], "It is of no module."),
    errors.MissingWeightsError("nothing here"),
    errors.AmbiguousModuleError("weights.h5", ["one", "two"]),
    errors.CacheError("no space"),
    errors.DownloadError("Cannot download", "https://host/file", "gone", 404),
    errors.TensorMismatchError("a file", missing=["kernel"], misshapen=["bias"]),
    errors.NetworkError("HTTP status 503", status=503, retry_after=2.0),
    errors.TarError("a header", b"\xff"),
    errors.ImageError(b"photo.jpg", "truncated"),
    errors.SignatureError("no signature 'x'"),
    errors.MissingExtraError("ray", "running on a cluster"),
    errors.ItemError("read", "too large"),
)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_processes_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_say_their_message_as_it_was_written(error):
    assert str(error) == error.args[0]
