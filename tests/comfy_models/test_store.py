from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_files.files import is_locked, sha256_of
from comfy_home.manifest import ManifestModel
from comfy_models.links import ModelLink
from comfy_models.store import ModelStore, linked_models


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def _add(store: ModelStore, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    store.add([content[:2], content[2:]], where="a.bin", expected_sha256=sha256)
    return sha256


# Adds a large file under its sha256, both named by arguments.
_PROGRAM = """\
import os, sys
import comfy_models.store as module
{cut}
with open(sys.argv[2], "rb") as source:
    chunks = iter(lambda: source.read(100_000), b"")
    module.ModelStore(module.Path(sys.argv[1])).add(
        chunks, where="big.bin", expected_sha256=sys.argv[3]
    )
"""
_CUT = """\
def cut(chunks, target):
    target.write(next(chunks)[:100]); target.flush(); os._exit(9)
module.write_hashed = cut
"""


def _start(store: ModelStore, source: Path, sha256: str, cut: str = "") -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(cut=cut)
    command = [sys.executable, "-c", program, str(store.root), str(source), sha256]
    return subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_file_is_stored_under_its_sha256(store: ModelStore) -> None:
    sha256 = _add(store, b"weights")
    assert store.path_of(sha256) == store.root / "sha256" / sha256[:2] / sha256
    assert store.path_of(sha256).read_bytes() == b"weights"


def test_a_stored_file_is_read_only(store: ModelStore) -> None:
    assert store.path_of(_add(store, b"weights")).stat().st_mode & 0o777 == 0o444


def test_other_bytes_than_expected_are_refused_and_leave_nothing(store: ModelStore) -> None:
    with pytest.raises(MismatchError, match=r"a\.bin has sha256"):
        store.add([b"wei", b"ghts"], where="a.bin", expected_sha256="0" * 64)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_transfer_that_was_killed_leaves_no_final_name_and_its_remains_are_used_up(
    store: ModelStore, tmp_path: Path
) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"x" * 10_000)
    sha256 = sha256_of(source)
    assert _start(store, source, sha256, _CUT).wait() == 9
    assert not store.holds(sha256)
    assert [path.stat().st_size for path in (store.root / "tmp").iterdir()] == [100]
    assert _start(store, source, sha256).wait() == 0
    assert store.path_of(sha256).read_bytes() == b"x" * 10_000
    assert not list((store.root / "tmp").iterdir())


def test_several_processes_can_bring_the_same_file_at_once(
    store: ModelStore, tmp_path: Path
) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"y" * 3_000_000)
    sha256 = sha256_of(source)
    together = [_start(store, source, sha256) for _ in range(4)]
    assert [process.wait() for process in together] == [0, 0, 0, 0]
    assert sha256_of(store.path_of(sha256)) == sha256
    assert not list((store.root / "tmp").iterdir())


def test_only_models_that_are_not_needed_are_unused(store: ModelStore) -> None:
    needed, unneeded = (_add(store, text) for text in (b"one", b"two"))
    found = store.unused({needed})
    assert found.files == (store.path_of(unneeded),)
    assert found.leftovers == ()
    assert found.unknown == ()


def test_a_store_that_is_not_there_has_nothing_unused(store: ModelStore) -> None:
    assert store.unused(set()).files == ()


def test_what_no_store_makes_is_unknown(store: ModelStore) -> None:
    sha256 = _add(store, b"one")
    strangers = [store.root / "notes.txt", store.path_of(sha256).with_name("model.safetensors")]
    for path in strangers:
        path.write_text("mine")
    assert set(store.unused({sha256}).unknown) == set(strangers)


def test_a_link_through_another_folder_keeps_its_model(store: ModelStore, tmp_path: Path) -> None:
    sha256 = _add(store, b"one")
    shared, home = tmp_path / "shared", tmp_path / "home"
    model = ManifestModel(target_path="loras/a.bin", sha256=sha256, size=3)
    ModelLink(model=model, root=shared, source=store.path_of(sha256)).make()
    ModelLink(model=model, root=home, source=shared / "loras/a.bin").make()
    assert linked_models(shared) == linked_models(home) == {sha256}
    # Also one whose store is not mounted at the moment.
    lost = hashlib.sha256(b"lost").hexdigest()
    (home / "lost.bin").symlink_to(f"/not/mounted/sha256/{lost[:2]}/{lost}")
    assert linked_models(home) == {sha256, lost}


def test_the_file_of_a_killed_transfer_is_left_over_and_that_of_a_running_one_is_not(
    store: ModelStore,
) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from comfy_models.store import ModelStore\n"
        "store = ModelStore(Path(sys.argv[1]))\n"
        "def chunks():\n"
        "    yield b'some'\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.readline()\n"
        "store.add(chunks(), where='x', expected_sha256='0' * 64)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(store.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    (partial,) = (store.root / "tmp").iterdir()
    assert store.unused(set()).leftovers == ()
    process.kill()
    process.communicate()
    assert store.unused(set()).leftovers == (partial,)


def test_a_transfer_that_finishes_while_it_is_looked_at_is_no_leftover(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = store.root / "tmp" / "x.partial"
    partial.parent.mkdir(parents=True)
    partial.touch()

    def finish_first(path: Path) -> bool:
        path.unlink()
        return is_locked(path)

    monkeypatch.setattr("comfy_models.store.is_locked", finish_first)
    assert store.unused(set()).leftovers == ()
