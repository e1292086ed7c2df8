"""torch's family, loaded by itself: small stand-ins in a real environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from rp_handler.check.torch_imports import require_family

BROKEN = "raise OSError('Could not load this library:\\n libtorchaudio.so')\n"


def install(
    folder: Path, name: str, version: str, *, source: str = "", requires: Sequence[str] = ()
) -> None:
    """A module with the metadata of an installed distribution."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {it}" for it in requires)]
    (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


def load(packages: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)}
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        asyncio.run(require_family(Path(sys.executable), environment, Path(folder)))


def fault(packages: Path, tmp_path: Path) -> OperationFailedError:
    with pytest.raises(OperationFailedError) as caught:
        load(packages, tmp_path)
    return caught.value


def test_a_family_that_loads_passes(packages: Path, tmp_path: Path) -> None:
    load(packages, tmp_path)
    install(packages, "torch", "2.15.0", source="print('{')")
    install(packages, "torchaudio", "2.11.1")
    load(packages, tmp_path)


@pytest.mark.parametrize(
    ("torch", "member", "version", "requires", "settling"),
    [
        ("2.12.1", "torchaudio", "2.11.1", ["torch>=2.11"], {"torch": {"version": "2.11"}}),
        ("2.12.1+cpu", "torchaudio", "2.11.0", [], {"torch": {"version": "2.11.0"}}),
        ("2.12.1", "torchvision", "0.29.2", ["torch<3,>=2.14.0"], {"torch": {"version": "2.14.0"}}),
        ("2.12.1", "torchvision", "0.26.0", ["torch (==2.11.0)"], {"torch": {"version": "2.11.0"}}),
        (
            "2.11.0",
            "torchaudio",
            "2.11.1",
            ["torch>=2.11"],
            {"constraints": ["torchaudio==2.11.0"]},
        ),
        (
            "2.11.0",
            "torchvision",
            "0.26.0",
            ["numpy", "torch==2.11.0", "torch>=3 ; extra == 'new'"],
            {"overrides": ["torchvision ; python_version < '3'"]},
        ),
    ],
)
def test_the_member_that_does_not_load_is_named_with_a_line_for_the_spec(
    packages: Path,
    tmp_path: Path,
    torch: str,
    member: str,
    version: str,
    requires: list[str],
    settling: dict[str, object],
) -> None:
    install(packages, "torch", torch)
    install(packages, member, version, source=BROKEN, requires=requires)
    error = fault(packages, tmp_path)
    assert error.message == (
        f"{member} {version} does not load with torch {torch}: "
        "OSError: Could not load this library: libtorchaudio.so"
    )
    line = error.remedy.partition("Add to the spec: ")[2].partition(". Then")[0]
    assert json.loads(f"{{{line}}}") == {"options": settling}


def test_a_member_that_is_never_done_ends_the_check(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.check.torch_imports._TIMEOUT_S", 1.0)
    install(packages, "torch", "2.15.0", source="import time; time.sleep(60)")
    assert "torch 2.15.0 does not load: timed out after 1 seconds" in (
        fault(packages, tmp_path).message
    )


def test_a_torch_that_does_not_load_is_named_alone(packages: Path, tmp_path: Path) -> None:
    install(packages, "torch", "2.15.0", source="import no_such_library")
    install(packages, "torchvision", "0.29.2", source=BROKEN)
    error = fault(packages, tmp_path)
    assert error.message.startswith("torch 2.15.0 does not load: ModuleNotFoundError")
    assert '"torch!=2.15.0"' in error.remedy


def test_a_member_that_ends_python_is_named(packages: Path, tmp_path: Path) -> None:
    install(packages, "torch", "2.15.0")
    install(packages, "torchvision", "0.1", source="import os, signal; os.kill(os.getpid(), 11)")
    assert "torchvision 0.1 does not load with torch 2.15.0: Python exited with status -11" in (
        fault(packages, tmp_path).message
    )
