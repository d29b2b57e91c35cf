"""`list` and `info`: what modules there are, and all there is to know of one."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from mobilenet_hub.cli import options
from mobilenet_hub.cli.options import weights as weights_options
from mobilenet_hub.cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from mobilenet_hub.catalog import ModuleInfo
    from mobilenet_hub.networks import Network
    from mobilenet_hub.weights.canonical import Weights


def list_command(
    pattern: weights_options.Pattern = None,
    all_versions: weights_options.AllVersions = False,
    here: weights_options.Here = False,
    as_json: options.Json = False,
) -> None:
    """List the modules: input size, features, cost, published accuracy, where the weights are."""
    from mobilenet_hub.catalog import find, modules
    from mobilenet_hub.weights.storage.store import is_here

    records = [
        record
        for handle, record in modules().items()
        if (all_versions or find(handle.rpartition("/")[0]) == record)
        and (pattern is None or fnmatch(handle, pattern) or fnmatch(handle, f"*{pattern}*"))
        and (not here or is_here(record))
    ]
    rows = [_facts(record) for record in records]
    if as_json:
        print_json(rows, indent=True)
        return
    print_table(
        f"{len(rows)} modules (accuracy on ImageNet as published; multiply-adds computed)",
        [
            ("handle", "cyan"), ("#input", ""), ("#features", ""), ("#MMACs", ""),
            ("#Mparams", ""), ("#top-1 %", "green"), ("#top-5 %", "green"), ("weights", "yellow"),
        ],
        [
            [
                row["handle"],
                f"{row['image_size']}{'' if row['fixed_size'] else '*'}",
                str(row["num_features"]),
                f"{row['multiply_adds'] / 1e6:.1f}",
                f"{row['parameters'] / 1e6:.2f}",
                f"{row['published']['top1']:.1f}",
                f"{row['published']['top5']:.1f}",
                "here" if row["weights_here"] else "-",
            ]
            for row in rows
        ],
    )  # fmt: skip
    if sys.stdout.isatty() and any(not row["fixed_size"] for row in rows):
        print_note("* default; images of any size are accepted")


def info_command(handle: weights_options.HandleOrPath, as_json: options.Json = False) -> None:
    """All there is to know of one module, or of weights in a file, and where they come from."""
    from mobilenet_hub.catalog import ModuleInfo
    from mobilenet_hub.weights.readers import read_module
    from mobilenet_hub.weights.storage.store import handle_or_path, is_here, load_weights

    target = handle_or_path(handle)
    weights = None
    if not isinstance(target, ModuleInfo):
        record, weights = read_module(target)
    else:
        record = target
        if is_here(record):
            weights = load_weights(record)
    facts = _facts(record, None if weights is None else weights.network)
    if target is not record:  # what is published is of other weights
        facts |= {"published": None, "path": str(target), "weights_here": True}
    facts |= {
        "url": record.url,
        "module_format": record.module_format,
        "family": record.family,
        "depth_multiplier": record.depth_multiplier,
        "batch_norm_momentum": record.batch_norm_momentum,
        "configurable_momentum": record.configurable_momentum,
        "checkpoint": record.checkpoint,
        "checkpoint_url": record.checkpoint_url,
    }
    if weights is not None:
        if weights.has_logits:
            facts["classes"] = "ImageNet" if weights.is_imagenet else list(weights.labels)
        facts["weights"] = dict(weights.metadata)
        if weights.sha256 is not None:  # None where they are read as another program left them
            facts["weights"]["sha256"] = weights.sha256
        facts["calibration"] = _calibration(weights, record)
    if as_json:
        print_json(facts, indent=True)
        return
    print_table(record.handle, [("fact", "cyan"), ("value", "")], _describe(facts))


def _calibration(weights: Weights, record: ModuleInfo) -> dict[str, Any] | None:
    """What int8 is computed by at the size of its images, and how close it comes to float32."""
    from dataclasses import asdict

    from mobilenet_hub.errors import MissingCalibrationError, WeightsError
    from mobilenet_hub.weights.storage.calibrations import load_calibration

    own = weights.classifier and weights.classifier.preprocessing
    try:
        calibration = load_calibration(weights, own.size if own else (record.image_size,) * 2)
    except MissingCalibrationError:
        return None
    except WeightsError as error:  # of the weights there is all else to say
        return {"damaged": str(error)}
    return {
        "sha256": calibration.sha256,
        "photos": asdict(calibration.photos),
        "method": calibration.method,
        "float_layers": calibration.float_layers,
        "certificates": [asdict(certificate) for certificate in calibration.certificates],
        "summary": [certificate.in_words() for certificate in calibration.certificates],
    }


def _facts(record: ModuleInfo, own: Network | None = None) -> dict[str, Any]:
    """What there is to know of a module; of one's own weights, of their network."""
    from dataclasses import asdict

    from mobilenet_hub.weights.storage.store import is_here

    network = own or record.network
    logits = record.task == "classification"
    size = record.image_size
    return {
        "handle": record.handle,
        "task": record.task,
        "version": record.version,
        "image_size": size,
        "fixed_size": record.fixed_size,
        "num_features": network.num_features,
        "num_classes": network.num_classes if logits else None,
        "multiply_adds": network.multiply_adds(size, size, logits=logits),
        "parameters": network.num_parameters(logits=logits),
        "published": asdict(record.published),
        "weights_here": is_here(record),
    }


def _describe(facts: dict[str, Any]) -> list[list[str]]:
    published = facts["published"]
    size = f"{facts['image_size']}×{facts['image_size']} px"
    momentum = f"{facts['batch_norm_momentum']:g}"
    whole = "; {:g} M published for the whole network"
    rows = [
        ["URL", facts["url"]],
        ["network", f"{facts['family']}, depth multiplier {facts['depth_multiplier']:g}"],
        ["input", f"{size}, {'fixed' if facts['fixed_size'] else 'default; any size works'}"],
        ["output", _output(facts)],
        [
            "multiply-adds",
            f"{facts['multiply_adds'] / 1e6:.1f} M computed for this module"
            + (whole.format(published["multiply_adds"]) if published else ""),
        ],
        [
            "parameters",
            f"{facts['parameters']:,} computed for this module"
            + (whole.format(published["parameters"]) if published else ""),
        ],
        ["format", f"{facts['module_format']} (version {facts['version']})"],
        [
            "batch norm momentum",
            f"{momentum}{', configurable' if facts['configurable_momentum'] else ''}",
        ],
        ["checkpoint", facts["checkpoint"]],
        ["checkpoint URL", facts["checkpoint_url"]],
    ]
    if published:
        accuracy = f"top-1 {published['top1']} %, top-5 {published['top5']} %"
        rows.insert(6, ["published accuracy", accuracy])
    if "weights" not in facts:
        return [*rows, ["weights", "not on this machine"]]
    rows += [[f"weights: {key}", str(value)] for key, value in facts["weights"].items()]
    if facts["calibration"] is None:
        return [*rows, ["int8", "not calibrated: see `mobilenet-hub calibrate`"]]
    if "damaged" in facts["calibration"]:
        return [*rows, ["int8", facts["calibration"]["damaged"]]]
    photos = facts["calibration"]["photos"]
    first = facts["calibration"]["float_layers"]
    kept = f"; the first {first} layers stay in float32" if first else ""
    rows.append(["int8", f"calibrated on {photos['count']:,} photos ({photos['name']}){kept}"])
    return [*rows, *(["int8: measured", words] for words in facts["calibration"]["summary"])]


def _output(facts: dict[str, Any]) -> str:
    features = f"{facts['num_features']} features"
    if facts["task"] != "classification":
        return features
    classes = facts.get("classes", "ImageNet")
    shown = "" if isinstance(classes, str) else f": {', '.join(classes[:5])}"
    more = ", ..." if len(classes) > 5 and shown else ""
    return f"{facts['num_classes']} logits{shown}{more} (and {features})"


COMMANDS = {"list": list_command, "info": info_command}
