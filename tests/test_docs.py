"""What the documents say can be done: commands parse, links and names lead somewhere, examples import what exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from kinema.cli import parse

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?kinema (.*)$|^.*-m kinema\.cli (.*)$")


def blocks(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of some languages (all without)."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [body for language, body in found if not languages or language in languages]


def commands(path: Path) -> list[str]:
    """What follows ``kinema`` in each line of a fenced block."""
    lines = "\n".join(blocks(path, "sh", "bash", "console", "")).replace("\\\n", " ").splitlines()
    return [m[1] or m[2] for line in lines if (m := COMMAND.match(line.strip()))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_parses(path: Path) -> None:
    for command in commands(path):
        parse(shlex.split(command, comments=True))


def test_the_readme_shows_every_kind_of_command() -> None:
    verbs = {c.split()[0] for c in commands(ROOT / "README.md")}
    assert {"data", "train", "evaluate", "embed", "show"} <= verbs


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_resolves(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", link) and not link.startswith("#"):
            target = (path.parent / link.split("#")[0]).resolve()
            assert target.exists(), f"{path.relative_to(ROOT)} links to {link}, which does not exist"
            assert target.is_relative_to(ROOT), link


def test_the_tree_in_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = FENCE.search(text, text.index("## The tree"))
    assert tree is not None
    names = [line.split()[0] for line in tree[2].splitlines()]
    assert len(names) > 8
    for name in names:
        assert (ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file(), name
    folders = {p.name for p in (ROOT / "src" / "kinema").iterdir() if (p / "__init__.py").exists()}
    assert folders <= {Path(n).name for n in names}, "a room is missing in the tree"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_document_names_a_place_on_some_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("../shared", "/home/", "/tmp/", "/root/"):
        assert word not in text, f"{word} in {path.relative_to(ROOT)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_import_what_exists(path: Path) -> None:
    """Without running them: each name imported from the package is defined at the top of that module."""
    for example in blocks(path, "python"):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kinema"):
                module = ROOT / "src" / Path(*str(node.module).split("."))
                for alias in node.names:
                    assert _defines(module, alias.name), f"{path.relative_to(ROOT)}: {node.module} has no {alias.name}"


def _defines(module: Path, name: str) -> bool:
    if module.is_dir():
        if (module / f"{name}.py").exists() or (module / name).is_dir():
            return True
        module = module / "__init__"
    source = module.with_suffix(".py").read_text(encoding="utf-8")
    return re.search(rf"^(?:class|def) {name}\b|^{name}\b\s*[:=]|^from .* import .*\b{name}\b", source, re.MULTILINE) is not None
