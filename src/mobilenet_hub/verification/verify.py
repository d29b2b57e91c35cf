"""`hub.verify`: one module, computed here in every engine and precision, against golden outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import get_args

import numpy as np

from mobilenet_hub.errors import EngineError, MissingExtraError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.settings import EngineName, Precision
from mobilenet_hub.verification.golden import SIZE, Float32, Golden, golden_images, golden_of
from mobilenet_hub.verification.machine import Machine, this_machine
from mobilenet_hub.weights.canonical import fingerprint
from mobilenet_hub.weights.resolve import Spec, resolve

# Float32 differs from the original by the order of its sums: 3e-5 at most where this was measured,
# on AVX2 and AVX-512. What is rounded on purpose is told by its direction.
MOST_DIFFERENCE = 1e-4
LEAST_COSINE: Mapping[str, float] = {"bf16": 0.9, "int8": 0.95}

FEATURES = "image_feature_vector"
_SMALL = 96  # height and width of images of which several are computed at a time
_OWN_SIZE_ONLY = frozenset({"int8"})  # precisions that are calibrated for a size


@dataclass(frozen=True, slots=True)
class Check:
    """One engine in one precision.

    Attributes:
        engine, precision: which.
        largest_difference: between golden outputs and those computed here: of features, and of
            logits where there are golden ones. NaN where something is not finite.
        lowest_cosine: between golden and computed vectors.
        bytes_difference: the largest between outputs for images as bytes and the same as floats.
        same_in_every_place: whether an image's outputs are the same, to the last bit, wherever in a
            batch it stands.
        broken: which tolerances are broken, in words; empty where all is well.
    """

    engine: EngineName
    precision: Precision
    largest_difference: float
    lowest_cosine: float
    bytes_difference: float
    same_in_every_place: bool
    broken: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is well."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out for a module.

    Attributes:
        handle: of the module.
        weights_sha256: of its weights, see `weights.canonical.fingerprint`.
        golden: the network whose golden outputs these weights have; None if there are none.
        checks: of each engine and precision that can be had.
        left_out: engines and precisions that cannot, as `engine precision`, and why.
        machine: where.
    """

    handle: str
    weights_sha256: str
    golden: str | None
    checks: tuple[Check, ...]
    left_out: dict[str, str]
    machine: Machine

    @property
    def passed(self) -> bool:
        """Whether there are golden outputs, and no tolerance is broken."""
        return self.golden is not None and all(check.passed for check in self.checks)

    @property
    def digest(self) -> str:
        """16 hex digits of all of this: equal where the same was computed alike."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def verify(
    module: Spec,
    *,
    engines: Sequence[EngineName] = get_args(EngineName),
    precisions: Sequence[Precision] = get_args(Precision),
) -> Verification:
    """Compute what the original network computed, and compare.

    ```python
    outcome = hub.verify("google/imagenet/mobilenet_v2_100_224/feature_vector")
    assert outcome.passed, outcome.checks
    ```

    Args:
        module: a module, its handle, or a file of weights.
        engines: which to try.
        precisions: which to try.

    Returns:
        What came out. Weights that the package has no golden outputs for are no error, and do not
        pass.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: the module cannot be had.
        EngineError, MissingExtraError: none of these engines and precisions can be had.
    """
    resolved, machine = resolve(module), this_machine()
    info, weights = resolved.info, resolved.weights
    golden = golden_of(weights) if info.image_size == SIZE else None
    checks: list[Check] = []
    left_out: dict[str, str] = {}
    refusals: list[Exception] = []
    for engine, precision in product(engines, precisions):
        try:
            computing = InferenceModule(info, weights=weights, engine=engine, precision=precision)
            if golden is not None:
                checks.append(_check(computing, golden, engine, precision))
        except (EngineError, MissingExtraError) as refusal:
            left_out[f"{engine} {precision}"] = str(refusal)
            refusals.append(refusal)
    if len(refusals) == len(engines) * len(precisions):
        nothing = EngineError("expected an engine and a precision. Received: none")
        raise next(iter(refusals), nothing)
    name = None if golden is None else golden.name
    sha256 = fingerprint(weights)
    return Verification(info.handle, sha256, name, tuple(checks), left_out, machine)


def _check(
    module: InferenceModule, golden: Golden, engine: EngineName, precision: Precision
) -> Check:
    images = golden_images()
    pairs = [(module(images, signature=FEATURES), golden.features)]
    broken = []
    if module.info.task == "classification":
        if golden.logits is None:
            broken.append("there are golden features, but no golden logits, for these weights")
        else:
            pairs.append((module(images), golden.logits))
    difference = max(_difference(*pair) for pair in pairs)
    cosine = min(_cosine(*pair) for pair in pairs)
    in_bytes = np.rint(images * 255).astype(np.uint8)
    bytes_difference = _difference(
        module(in_bytes, signature=FEATURES),
        module(in_bytes / np.float32(255), signature=FEATURES),
    )
    same = _same_in_every_place(module, images)
    if not module.info.fixed_size and precision not in _OWN_SIZE_ONLY:
        small = np.concatenate([images, images])[:, :_SMALL, :_SMALL]
        same = same and _same_in_every_place(module, small)

    if precision != "float32":
        if not cosine >= LEAST_COSINE[precision]:
            broken.append(f"a cosine of {cosine:.4f}, less than {LEAST_COSINE[precision]}")
    else:
        if not difference <= MOST_DIFFERENCE:
            broken.append(f"a difference of {difference:.2g}, more than {MOST_DIFFERENCE}")
        if not bytes_difference <= MOST_DIFFERENCE:
            broken.append(
                f"bytes and floats differ by {bytes_difference:.2g}, more than {MOST_DIFFERENCE}"
            )
    if not same:
        broken.append("what an image gives depends on its place in a batch")
    return Check(engine, precision, difference, cosine, bytes_difference, same, tuple(broken))


def _difference(values: Float32, golden: Float32) -> float:
    return float(np.abs(values - golden).max())


def _cosine(values: Float32, golden: Float32) -> float:
    """The lowest of all pairs of rows."""
    lengths = np.linalg.norm(values, axis=1) * np.linalg.norm(golden, axis=1)
    return float(((values * golden).sum(1) / lengths).min())


def _same_in_every_place(module: InferenceModule, images: Float32) -> bool:
    """Whether images give the same in one order as in another, in which none keeps its place."""
    batch = np.concatenate([images, images[:1]])  # more than whole micro-batches
    features = module(batch, signature=FEATURES)
    turned = module(np.roll(batch, 1, axis=0), signature=FEATURES)
    return bool(np.array_equal(np.roll(features, 1, axis=0), turned))
