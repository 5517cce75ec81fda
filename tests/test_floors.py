"""Imports only go down, rooms of one floor never import one another, and no import is dynamic outside the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kinema

ROOT = Path(kinema.__file__).parent
FLOORS = {
    "words": -2, "errors": -1, "machine": -1, "text": -1, "files": 0, "schema": 0,
    "nn": 1, "motion": 1,
    "data": 2, "training": 2, "view": 2,
    "recognition": 3, "generation": 3, "segmentation": 3,
    "studio": 4,
    "verbs": 5, "front": 5, "api": 5,
    "cli": 6,
    "__main__": 7,
}  # fmt: skip
NO_TORCH = {"motion", "view", "words", "errors", "text", "files", "schema", "machine"}
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Absolute names of everything that a file imports, wherever in it."""
    found = []
    package = ("kinema", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            found += [module] + [f"{module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = room(path)
    assert own in FLOORS, f"{own} has no floor: add it to docs/design.md and here"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "kinema" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != own:
            assert FLOORS[parts[1]] < FLOORS[own], f"{own} (floor {FLOORS[own]}) imports {name} (floor {FLOORS[parts[1]]})"
        if own in NO_TORCH:
            assert parts[0] not in ("torch", "lightning_fabric", "roma"), f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_dynamic_imports_nor_unsafe_loading(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if room(path) != "cli":
            assert name not in ("__import__", "importlib.import_module"), f"dynamic import in {path.name}"
        assert name not in ("eval", "exec"), f"{name} in {path.name}"
        if name == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), (
                f"torch.load in {path.name}"
            )
        if name.endswith("np.load"):
            assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords), (
                f"np.load in {path.name}"
            )
    assert "pickle.load" not in source or path.name == "unpickle.py"
