"""What an image's handler is made of."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

from runpod_comfy.images.plan import handler_sources, sources_digest
from runpod_comfy.lock.python.wheels import HANDLER_LOCK
from runpod_comfy.project import PACKAGES

_SOURCES = (
    "comfy_errors/__init__.py",
    "comfy_home/manifest.py",
    "comfy_models/store.py",
    "comfy_workflows/graph.py",
    "rp_handler/main.py",
    "rp_handler/check/run.py",
)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder like `src` or `site-packages`, with packages of others too."""
    others = (
        "runpod_comfy/lock/model.py",
        "numpy/core.py",
        "comfy_workflows/compare/media.py",
        "comfy_workflows/report/page.py",
    )
    for name in (*_SOURCES, *others):
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before\n")
    return tmp_path / "packages"


def _digest(packages: Path) -> str:
    return sources_digest(handler_sources(packages))


def test_only_sources_of_the_handlers_packages_are_taken(packages: Path) -> None:
    (packages / "rp_handler/__pycache__").mkdir()
    (packages / "rp_handler/__pycache__/main.cpython-311.pyc").write_bytes(b"compiled")
    (packages / "rp_handler/BUILD").touch()
    assert sorted(handler_sources(packages)) == sorted(_SOURCES)


@pytest.mark.parametrize("changed", _SOURCES)
def test_the_digest_follows_every_source(packages: Path, changed: str) -> None:
    before = _digest(packages)
    (packages / changed).write_text("after\n")
    assert _digest(packages) != before


def test_the_digest_follows_nothing_else(packages: Path) -> None:
    before = _digest(packages)
    (packages / "runpod_comfy/lock/model.py").write_text("after\n")
    assert _digest(packages) == before


def test_a_new_and_a_renamed_source_count(packages: Path) -> None:
    before = _digest(packages)
    added = packages / "rp_handler/added.py"
    added.write_text("before\n")
    with_it = _digest(packages)
    added.rename(packages / "rp_handler/renamed.py")
    assert len({before, with_it, _digest(packages)}) == 3


def test_the_packages_hold_nothing_but_sources() -> None:
    """Another kind of file would be missing in images."""
    folders = {PACKAGES / name.split("/")[0] for name in handler_sources()}
    left_out = [PACKAGES / "comfy_workflows" / part for part in ("compare", "report")]
    others = {
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
        if not any(path.is_relative_to(part) for part in left_out)
    }
    assert others <= {"BUILD", "py.typed"}


def test_the_sources_import_only_modules_that_come_along() -> None:
    sources = handler_sources()
    modules = {module for path in sources.values() for module in _imported(path)}
    left_out = ("comfy_workflows.compare", "comfy_workflows.report")
    assert not {module for module in modules if module.startswith(left_out)}


def test_requirements_name_exactly_what_the_sources_import() -> None:
    """PyPI names of modules differ, and packages of this project need no distribution."""
    sources = handler_sources()
    own = {name.split("/")[0] for name in sources}
    modules = {module for path in sources.values() for module in _imported(path)}
    others = {it for it in modules if it.split(".")[0] not in own | sys.stdlib_module_names}
    needed = {_distribution(module) for module in others}
    requirements = HANDLER_LOCK.with_name("requirements.txt").read_text().split()
    assert sorted(needed) == requirements


# Several distributions share the package `google`, and some modules come with what requires them.
_COME_WITH = {
    "google.api_core": "google-cloud-storage",
    "google.auth": "google-auth",
    "google.cloud": "google-cloud-storage",
    "google.oauth2": "google-auth",
    "urllib3": "requests",
}


def _distribution(module: str) -> str:
    """The name of the distribution that the requirements name for a module."""
    for part, name in _COME_WITH.items():
        if f"{module}.".startswith(f"{part}."):
            return name
    (name,) = set(importlib.metadata.packages_distributions()[module.split(".")[0]])
    return name.lower()


def _imported(path: Path) -> set[str]:
    """The modules that a source imports, anywhere in it, and what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
