"""An import against the arrows of docs/architecture.md fails the build.

Each test gives a copy of the project's BUILD files one empty module per package, and some that
import what they must not, and asks Pants for the dependencies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Starts Pants.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SUBPACKAGES = (
    *("cli", "api", "bundle", "upkeep", "homes", "images", "layers"),
    *("models", "lock", "sources", "cache", "spec"),
)
# The arrows, written a second time from the document, so that a slip in src/BUILD shows.
_SHARED: dict[str, set[str]] = {
    "comfy_errors": set(),
    "comfy_files": set(),
    "comfy_http": {"comfy_files"},
    "comfy_home": {"comfy_files", "comfy_http", "comfy_models"},
    "comfy_models": {"comfy_files", "comfy_http"},
    "comfy_workflows": {"comfy_files"},
}
SHARED = set(_SHARED)
PACKAGES = sorted(
    {*SHARED, "rp_handler", *(f"runpod_comfy.{name}" for name in SUBPACKAGES)},
)

_BUILD_SIDE: dict[str, set[str]] = {
    "spec": set(),
    "cache": set(),
    "models": {"cache"},
    "sources": {"cache", "spec"},
    "lock": {"sources", "cache", "spec"},
    "layers": {"lock", "sources", "cache", "spec"},
    "homes": {"layers", "lock", "sources", "cache", "spec"},
    "images": {"layers", "lock", "sources", "cache", "spec"},
    "upkeep": {"homes", "images", "layers", "lock", "sources", "cache", "spec"},
    "bundle": {"lock", "sources", "cache", "spec"},
    "api": set(SUBPACKAGES) - {"cli", "api", "upkeep", "bundle"},
    "cli": set(SUBPACKAGES) - {"cli"},
}
ALLOWED: dict[str, set[str]] = {
    **{package: {package, "comfy_errors", *others} for package, others in _SHARED.items()},
    "rp_handler": {"rp_handler", *SHARED},
    **{
        f"runpod_comfy.{name}": {
            *SHARED,
            *(f"runpod_comfy.{other}" for other in {name, *others}),
            *({"rp_handler"} if name in ("cli", "api") else ()),
        }
        for name, others in _BUILD_SIDE.items()
    },
}


def _copy(tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=_all_but_build_files)
    shutil.copytree(ROOT / "images", copy / "images", ignore=_all_but_build_files)
    for name in ("pants", "pants.toml", "BUILD", "pyproject.toml"):
        shutil.copy2(ROOT / name, copy / name)
    for package in PACKAGES:
        _write(copy, f"{package}.empty", "")
    # The handler's PEX names it as its entry point.
    _write(copy, "rp_handler.main", "")
    return copy


def _all_but_build_files(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name != "BUILD" and not (Path(folder) / name).is_dir()]


def _write(copy: Path, module: str, text: str) -> None:
    path = copy / "src" / (module.replace(".", "/") + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _dependencies(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["./pants", "dependencies", "src::"],
        cwd=copy,
        env={**os.environ, "PANTS_CONCURRENT": "true"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_forbidden_import_ends_the_build(tmp_path: Path) -> None:
    copy = _copy(tmp_path)
    _write(copy, "rp_handler.wrong", "import runpod_comfy.lock.empty\n")
    done = _dependencies(copy)
    assert done.returncode != 0
    assert "src/rp_handler/wrong.py" in done.stderr
    assert "src/runpod_comfy/lock/empty.py" in done.stderr


def test_every_arrow_of_the_architecture_holds_and_every_other_import_is_refused(
    tmp_path: Path,
) -> None:
    copy = _copy(tmp_path)
    # Pants stops at the first refusal. Told to warn instead, it names them all in one run.
    rules = copy / "src" / "BUILD"
    rules.write_text(rules.read_text().replace('"!*"', '"?*"'))
    for package in PACKAGES:
        for other in PACKAGES:
            name = f"{package}.to_{other.replace('.', '_')}"
            _write(copy, name, f"import {other}.empty\n")
    done = _dependencies(copy)
    assert done.returncode == 0, done.stderr
    refused = set(
        re.findall(r"for src/([\w/]+)/to_\w+\.py's .* src/([\w/]+)/empty\.py", done.stderr)
    )
    expected = {
        (package.replace(".", "/"), other.replace(".", "/"))
        for package in PACKAGES
        for other in PACKAGES
        if other not in ALLOWED[package]
    }
    assert refused == expected, done.stderr
