"""The house: rooms import only from lower floors, doors open lazily, no circles, no crowds."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import mobilenet_hub

PACKAGE = Path(mobilenet_hub.__file__).parent
FLOORS = [
    {
        "networks",
        "catalog",
        "errors",
        "labels",
        "files",
        "tar",
        "settings",
        "arrays",
        "web",
        "pages",
    },
    {"weights", "images", "runtime"},
    {"graph", "signatures"},
    {"inference", "keras", "tensorflow"},
    {"tensorflow_hub"},
    {"module", "verification"},
    {"pipeline"},
    {"search", "ray", "conversion", "benchmarking", "evaluation"},
    {"retraining"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {
    "fsspec", "google_crc32c", "h5py", "jax", "jinja2", "kagglehub", "keras", "onnx", "onnxruntime",
    "openvino", "pandas", "pyarrow", "ray", "requests", "rich", "safetensors", "tensorflow",
    "tf_keras", "torch", "usearch",
}  # fmt: skip
# Rooms whose very purpose is one of these, reached only through a function of somebody else.
MAY_IMPORT_HEAVY = {
    "keras": {"keras", "tensorflow", "torch", "jax"},
    "ray": {"ray"},
    "tensorflow": {"tensorflow", "tf_keras"},
}


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
                if not (below or ground):
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


def imported_files():
    """Each file of the package, and the files it imports: inside functions too, not for types."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    arrows = {}
    for name, path in files.items():
        found = {
            next((file for file in prefixes(imported) if file in files), None)
            for node in run_nodes(ast.parse(path.read_text()))
            for imported in imports(node)
        }
        arrows[name] = found - {None, name}
    return arrows


def run_nodes(tree):
    """All nodes but those under `if TYPE_CHECKING`."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)


def prefixes(name):
    """`a.b.c`, `a.b`, `a`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def test_no_file_imports_another_in_a_circle():
    TopologicalSorter(imported_files()).prepare()


def test_no_folder_is_crowded():
    counts = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    limits = {PACKAGE: 14}
    assert {str(f): n for f, n in counts.items() if n > limits.get(f, 12)} == {}


def test_no_file_is_long():
    lines = {str(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > 400} == {}
