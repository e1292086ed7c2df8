"""Distributions that install the same file with different content: always the same one is kept."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.images.conftest import Bench
from tests.package_index import make_wheel
from tests.program import write_program

# Each test makes environments.
pytestmark = pytest.mark.slow

# Written out of order, and enough of them for the installer's threads to race.
_NAMES = ("charlie", "alpha", "delta", "bravo")


def _wheel(folder: Path, name: str, more: Mapping[str, str]) -> str:
    """Makes a wheel; gives its requirement."""
    wheel = make_wheel(folder, name, "1.0", more=more)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"


def _overlapping(folder: Path) -> dict[str, str]:
    """The requirement of each of several wheels that share `tests/`, by name.

    `tests/__init__.py` is the same in all of them, one file differs in all, and one in two.
    """
    folder.mkdir()
    found = {}
    for name in _NAMES:
        more = {"tests/__init__.py": "", "tests/check.py": f"WHO = {name!r}\n" * 500}
        if name in ("alpha", "bravo"):
            more["tests/of_two.py"] = f"WHO = {name!r}\n"
        found[name] = _wheel(folder, name, {**more, f"tests/{name}.py": f"WHO = {name!r}\n"})
    return found


def _install(
    bench: Bench, venv: Path, *layers: str, uv: str | None = None
) -> tuple[dict[str, bytes], str]:
    """Installs a requirements file for each layer, torch and wheels; gives the packages' files, and
    what was said."""
    said = ""
    for layer, requirements in zip(("torch", "wheels"), layers, strict=False):
        bench.give({"requirements.txt": requirements})
        done = bench.attempt(
            layer,
            {
                "VENV": str(venv),
                "UV": uv or find_uv_bin(),
                "UV_CACHE_DIR": str(venv.parent / f"cache of {venv.name}"),
                "UV_FIND_LINKS": (bench.folder / "wheels").as_uri(),
                "NO_INDEX": "1",
                "PYTHON": sys.executable,
            },
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    (packages,) = venv.glob("lib/python3.*/site-packages")
    files = (path for path in packages.rglob("*") if path.is_file())
    return {str(path.relative_to(packages)): path.read_bytes() for path in files}, said


def test_the_last_distribution_of_the_requirements_has_the_file_each_time(bench: Bench) -> None:
    wheels = _overlapping(bench.folder / "wheels")
    text = "".join(wheels[name] for name in sorted(wheels))
    first, said = _install(bench, bench.folder / "venv-0", text)
    assert b"delta" in first["tests/check.py"]
    assert b"bravo" in first["tests/of_two.py"]
    assert {f"tests/{name}.py" for name in _NAMES} < first.keys()
    assert "Note: alpha and bravo both install tests/of_two.py; that of bravo is kept" in said
    assert (
        "Note: alpha, bravo, charlie and delta all install tests/check.py; that of delta is kept"
    ) in said
    assert "__init__" not in said
    for number in range(1, 4):
        assert _install(bench, bench.folder / f"venv-{number}", text)[0] == first


def test_a_later_layer_has_the_file_and_its_bytecode(bench: Bench) -> None:
    wheels = _overlapping(bench.folder / "wheels")
    venv = bench.folder / "venv"
    _, said = _install(bench, venv, wheels["delta"] + wheels["bravo"], wheels["alpha"])
    question = "import tests.check, tests.of_two; print(tests.check.WHO, tests.of_two.WHO)"
    command = [str(venv / "bin/python"), "-B", "-c", question]
    assert subprocess.check_output(command, text=True) == "alpha alpha\n"
    assert "Note: bravo, delta and alpha all install tests/check.py; that of alpha is kept" in said


def test_distributions_whose_shared_files_are_equal_are_installed_at_once(bench: Bench) -> None:
    (bench.folder / "wheels").mkdir()
    same = {"tests/__init__.py": "", "tests/check.py": "WHO = 'all'\n"}
    text = "".join(_wheel(bench.folder / "wheels", name, same) for name in _NAMES)
    calls = bench.folder / "calls"
    uv = write_program(
        bench.folder / "uv", f'echo "$1 $2" >>"{calls}"\nexec "{find_uv_bin()}" "$@"\n'
    )
    _, said = _install(bench, bench.folder / "venv", text, uv=str(uv))
    assert "Note:" not in said
    assert [line for line in calls.read_text().splitlines() if "pip" in line] == ["pip install"]
