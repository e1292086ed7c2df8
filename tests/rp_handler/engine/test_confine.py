from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from comfy_files.files import Below
from comfy_files.read_only import make_read_only
from rp_handler.engine import confine
from rp_handler.engine.command import CACHED, EngineSetup, read_only_folders
from rp_handler.engine.process import Engine
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import record_root
from tests.ordinary_user import as_ordinary_user, can_unshare, users_folder

place = pytest.fixture(users_folder)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux confines programs")

needs_mounts = pytest.mark.skipif(
    not can_unshare(*(["--mount"] if os.getuid() == 0 else ["--user", "--mount"])),
    reason="needs a mount namespace",
)
needs_users = pytest.mark.skipif(
    not can_unshare("--user", "--mount"), reason="needs a user namespace"
)
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="about root")

# What a patch does in the worst case.
_ATTACK = """
chmod -R u+w "$1"
echo patched >"$1/package/file"
echo patched >"$1/package/new"
rm -f "$1/package/other"
mv "$1/package" "$1/moved"
echo fine >"$2/file"
"""


def _environment(place: Path) -> tuple[Path, Path]:
    """A read-only folder with a package, and a folder to write to."""
    folder, written = place / "environment", place / "written"
    (folder / "package").mkdir(parents=True)
    written.mkdir()
    for name in ("file", "other"):
        (folder / "package" / name).write_text("whole")
    make_read_only(folder)
    return folder, written


def _contents(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _confined(folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-I", "-S", "-B", confine.__file__, f"{confine.READ_ONLY}{folder}"]
    return subprocess.run([*start, "--", *command], capture_output=True, text=True, check=False)


def _attack(folder: Path, written: Path) -> None:
    before = _contents(folder)
    done = _confined(folder, ["sh", "-c", _ATTACK, "sh", str(folder), str(written)])
    assert "Read-only file system" in done.stderr
    assert _contents(folder) == before
    assert (written / "file").read_text() == "fine\n"


@needs_root
@needs_mounts
def test_root_cannot_write_even_after_chmod(place: Path) -> None:
    _attack(*_environment(place))


@needs_users
def test_an_ordinary_user_cannot_write_even_after_chmod(place: Path) -> None:
    folder, written = _environment(place)
    as_ordinary_user(lambda: _attack(folder, written), place)


@needs_root
def test_root_that_may_not_mount_obeys_permissions(place: Path) -> None:
    folder, written = _environment(place)
    os.chown(written, 1000, 1000)
    written.chmod(0o775)
    done = _in_container(folder, written)
    assert (done.stdout, "Permission denied" in done.stderr) == ("0\nwhole", True)
    assert (written / "file").read_text() == "fine\n"


@needs_root
def test_root_that_writes_for_another_user_keeps_its_rights_and_says_so(place: Path) -> None:
    folder, written = _environment(place)
    os.chown(written, 1000, 1000)
    done = _in_container(folder, written)
    assert done.stdout == "0\npatched\n"
    assert f"{written} belongs to user 1000" in done.stderr


def _in_container(folder: Path, written: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program as root with the rights that a container has."""
    script = 'id -u; echo fine >"$2/file"; echo patched >"$1/package/file"; cat "$1/package/file"'
    start = ["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-I", "-S", "-B"]
    start += [confine.__file__, f"{confine.READ_ONLY}{folder}", f"{confine.WRITTEN}{written}"]
    command = ["sh", "-c", script, "sh", str(folder), str(written)]
    return subprocess.run([*start, "--", *command], capture_output=True, text=True, check=False)


def test_an_argument_of_the_command_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    done = _confined(tmp_path, ["echo", "--", "--read-only=x"])
    assert done.stdout == "-- --read-only=x\n"


def test_all_of_the_cache_is_kept_from_engines_but_where_entries_are_made() -> None:
    cache = Cache(root=Path("/cache"))
    names = {
        getattr(cache, name).relative_to("/cache").parts[0]
        for name, value in vars(Cache).items()
        if isinstance(value, Below)
    }
    assert names == {*CACHED, "tmp"}


@needs_mounts
def test_a_node_cannot_change_the_environment_the_cache_or_another_home(
    setup_of: EngineSetup, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    package = home / ".venv/lib/package.py"
    cached = tmp_path / "cache/models/sha256/ab/model"
    other = tmp_path / "other"
    others = [other / ".venv/lib/package.py", other / "ComfyUI/custom_nodes/n/__init__.py"]
    kept = [package, cached, *others]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("whole")
    # The same home may be recorded by another path.
    by_link = tmp_path / "link"
    by_link.symlink_to(home)
    for root in (home, by_link, other):
        lock = b'{"version_id": "other"}'
        record_root(Cache(root=tmp_path / "cache"), kind="home", path=root, lock_bytes=lock)
    (tmp_path / "cache/roots/broken.json").write_text("{")
    node = home / "ComfyUI/custom_nodes/patcher/__init__.py"
    node.parent.mkdir()
    node.write_text(
        "import pathlib, subprocess\n"
        f"kept = {[str(path) for path in kept]!r}\n"
        "subprocess.run(['chmod', 'u+w', *kept])\n"
        "for path in (*kept, __file__ + '.log'):\n"
        "    try:\n"
        "        pathlib.Path(path).write_text('patched')\n"
        "    except OSError as error:\n"
        "        print('refused:', error, flush=True)\n"
        "NODE_CLASS_MAPPINGS = {}\n"
    )
    python = home / ".venv/bin/python"
    setup = EngineSetup(
        core=setup_of.core,
        python=python,
        variables={},
        flags=frozenset(),
        read_only=read_only_folders(python, os.environ, writable_environment=False),
    )

    async def start() -> list[str]:
        async with Engine(setup) as engine:
            return engine.log.read_text().splitlines()

    told = [line for line in asyncio.run(start()) if line.startswith("refused:")]
    assert all(str(path) in line for path, line in zip(kept, told, strict=True))
    assert {path.read_text() for path in kept} == {"whole"}
    assert node.with_name("__init__.py.log").read_text() == "patched"
