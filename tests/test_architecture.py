"""The house: a room imports only from rooms on lower floors, and its doors open lazily."""

from __future__ import annotations

import ast
from pathlib import Path

import mobilenet_hub

PACKAGE = Path(mobilenet_hub.__file__).parent
FLOORS = [
    {"networks", "errors", "labels", "files"},
    {"catalog", "runtime", "images"},
    {"weights", "signatures", "arrays"},
    {"graph"},
    {"module", "keras"},
    {"pipeline"},
    {"search", "ray", "conversion"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# tensorflow_hub had one name for inference and training: the hall has a door to the Keras wing.
DOORS = {("module", "keras"), ("keras", "module")}
HEAVY = {
    "fsspec", "google_crc32c", "h5py", "jax", "kagglehub", "keras", "lance", "onnx", "onnxruntime",
    "openvino", "pandas", "pyarrow", "ray", "requests", "rich", "safetensors", "tensorflow",
    "torch", "usearch",
}  # fmt: skip
# Rooms whose very purpose is one of these, reached only through a function of somebody else.
MAY_IMPORT_HEAVY = {"keras": {"keras", "tensorflow", "torch", "jax"}, "ray": {"ray"}}


def sources():
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in ("__init__", "__main__"):
            yield path, room, ast.parse(path.read_text())


def imports(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        module = node.module or ""
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


def test_every_room_has_its_floor():
    assert {room for _, room, _ in sources()} == set(FLOOR)


def test_rooms_import_only_from_lower_floors():
    wrong = []
    for path, room, tree in sources():
        for node in ast.walk(tree):
            for name in imports(node):
                parts = name.split(".")
                if parts[0] != "mobilenet_hub" or len(parts) < 2 or parts[1] not in FLOOR:
                    continue
                below = FLOOR[parts[1]] < FLOOR[room] or parts[1] == room
                ground = FLOOR[parts[1]] == FLOOR[room] == 0
                if not (below or ground or (room, parts[1]) in DOORS):
                    wrong.append(f"{path.name}:{node.lineno} imports {name}")
    assert wrong == []


def test_heavy_packages_are_imported_inside_functions():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} imports {name}"
        for path, room, tree in sources()
        for node in tree.body
        for name in imports(node)
        if name.split(".")[0] in HEAVY - MAY_IMPORT_HEAVY.get(room, set())
    ]
    assert wrong == []
