"""Nodes that change packages, on real homes: neither other homes nor the cache change with them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.small_versions import contents
from tests.ordinary_user import as_ordinary_user, can_unshare, users_folder
from tests.package_index import publish
from tests.program import Outcome, Program
from tests.specs import BARE_CORE, write_spec

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux confines engines"),
    pytest.mark.skipif(not can_unshare("--user", "--mount"), reason="needs namespaces"),
]

_PATH = "import alpha, os, pathlib, subprocess, sys\npath = pathlib.Path(alpha.__file__)\n"
_PATCHES = {
    "rewrites": "path.write_text('PATCHED = True\\n')",
    "replaces": (
        "new = path.with_name('new'); new.write_text('PATCHED = True\\n'); new.replace(path)"
    ),
    "changes the mode": "path.chmod(0o666); path.write_text('PATCHED = True\\n')",
    "changes the mode with a program": (
        "subprocess.run(['chmod', '-R', 'u+w', path.parent], check=False); "
        "path.write_text('PATCHED = True\\n')"
    ),
    "runs a program": (
        "subprocess.run(['sh', '-c', 'chmod u+w \"$0\"; echo PATCHED = True >\"$0\"', path])"
    ),
    "installs": (
        "subprocess.run([os.environ['TEST_UV'], 'pip', 'install', '--python', sys.executable, "
        "'extra'], check=True)"
    ),
}
_QUIET = ("runs a program",)
"""What this node tries fails without an exception, and nothing else happens."""


def _as_root(work: Callable[[], None], _place: Path) -> None:
    work()


USERS = [
    pytest.param(
        _as_root, id="root", marks=pytest.mark.skipif(os.getuid() != 0, reason="about root")
    ),
    pytest.param(as_ordinary_user, id="user"),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    yield from users_folder()


@pytest.fixture(scope="module")
def program(place: Path) -> Program:
    """Versions `plain`, one for each patch, and for each another that may write."""
    from uv import find_uv_bin

    for name in ("torch", "alpha", "extra"):
        publish(place / "index", name, "2.1.0")
    shutil.copytree(BARE_CORE, place / "core")
    (place / "core/requirements.txt").write_text("torch==2.1.0\nalpha\n")
    core = {"repo": str(place / "core")}
    write_spec(place / "versions", "plain", core=core, nodes={})
    for name, patch in _PATCHES.items():
        source = f"{_PATH}{patch}\nNODE_CLASS_MAPPINGS = {{'Patch': object}}\n"
        node = place / "nodes" / _id(name)
        node.mkdir(parents=True)
        (node / "__init__.py").write_text(source)
        for version, options in ((_id(name), {}), (f"{_id(name)}-allowed", _ALLOWED)):
            nodes = {"patcher": {"repo": str(node)}}
            write_spec(place / "versions", version, core=core, nodes=nodes, options=options)
    index = (place / "index" / "simple").as_uri()
    return Program(
        folder=place,
        variables={
            "TEST_UV": find_uv_bin(),
            "UV_DEFAULT_INDEX": index,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
        },
    )


_ALLOWED = {"writable_environment": True}


def _id(name: str) -> str:
    return name.replace(" ", "-")


def _realize(program: Program, place: Path, version: str, *options: str) -> Outcome:
    cached = Program(
        folder=program.folder,
        variables={**program.variables, "COMFY_CACHE_ROOT": str(place / "cache")},
    )
    return cached("realize", version, "--target", place / "homes" / version, *options)


def _shared(place: Path) -> list[dict[str, object]]:
    """What must not change: another home, and what later homes are made of."""
    cached = ("environments", "uv/archive-v0")
    return [contents(place / "homes/plain"), *(contents(place / "cache" / name) for name in cached)]


@pytest.mark.parametrize("as_user", USERS)
@pytest.mark.parametrize("name", _PATCHES)
def test_a_node_that_changes_a_package_changes_no_other_home_and_not_the_cache(
    program: Program, place: Path, name: str, as_user: Callable[[Callable[[], None], Path], None]
) -> None:
    folder = place / f"{_id(name)}-{as_user.__name__}"
    folder.mkdir()

    def patch() -> None:
        plain = _realize(program, folder, "plain")
        assert plain.code == 0, plain.err
        before = _shared(folder)
        done = _realize(program, folder, _id(name))
        if name in _QUIET:
            assert done.code == 0, done.err
        else:
            told = done.failed_with(1)
            assert "the custom node patcher may not change the Python environment: " in told
            assert "custom_nodes/patcher/__init__.py, line 3: " in told
        assert _shared(folder) == before
        allowed = _realize(program, folder, f"{_id(name)}-allowed")
        assert allowed.code == 0, allowed.err
        assert "Starting ComfyUI changes " in allowed.err
        assert _shared(folder) == before
        for version in ("plain", f"{_id(name)}-allowed"):
            verified = _realize(program, folder, version, "--verify")
            assert verified.code == 0, verified.err

    as_user(patch, place)
