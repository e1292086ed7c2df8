"""What the demo version is made of, loaded from its files as ComfyUI or a user would."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def versions() -> Path:
    return PROJECT / "versions"


@pytest.fixture(scope="session")
def workflows() -> Path:
    return PROJECT / "workflows"


@pytest.fixture(scope="session")
def marbled_paper(versions: Path) -> Iterator[ModuleType]:
    """The custom node's package, imported by its path as ComfyUI does."""
    folder = versions / "demo/custom_nodes/marbled_paper"
    yield _import("marbled_paper", folder / "__init__.py")
    for name in [name for name in sys.modules if name.split(".")[0] == "marbled_paper"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def make_upscaler(versions: Path) -> ModuleType:
    """The script that makes the demo's model."""
    return _import("make_upscaler", versions / "demo/make_upscaler.py")


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
