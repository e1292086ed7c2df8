"""Jobs' models on disk: what is used least recently makes room, also after a restart."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_files.files import is_locked, lock
from comfy_models.store import ModelStore
from rp_handler.errors import InputFetchError
from rp_handler.job_models.kept import KeptModels
from tests.model_downloads import files_in, keep

LIMIT = 1000


@pytest.fixture
def kept(tmp_path: Path) -> KeptModels:
    return KeptModels(tmp_path / "kept", LIMIT)


def put(kept: KeptModels, name: str, *, used_at: int, size_bytes: int = 300) -> str:
    """A stored file that was used at that time; its sha256."""
    content = name.encode().ljust(size_bytes)
    sha256 = hashlib.sha256(content).hexdigest()
    keep(kept.store.root, content)
    kept.note_use(sha256, f"loras/{name}")
    os.utime(kept.store.root / f"used/{sha256}.json", (used_at, used_at))
    return sha256


def there(kept: KeptModels) -> list[str]:
    return [one["path"].removeprefix("loras/") for one in kept.listing()]


def test_what_was_used_least_recently_makes_room(kept: KeptModels) -> None:
    for name, used_at in (("b", 2), ("a", 1), ("c", 3)):
        put(kept, name, used_at=used_at)
    kept.make_room(100, keep=())
    assert there(kept) == ["a", "b", "c"]
    kept.make_room(101, keep=())
    assert there(kept) == ["b", "c"]
    kept.make_room(LIMIT, keep=())
    assert there(kept) == []
    assert files_in(kept.store.root) == []


def test_a_use_counts_also_after_a_restart(kept: KeptModels) -> None:
    first = put(kept, "a", used_at=1)
    for name in ("b", "c"):
        put(kept, name, used_at=2)
    kept.note_use(first, "loras/a")
    again = KeptModels(kept.store.root, LIMIT)
    again.make_room(LIMIT - 300, keep=())
    assert there(again) == ["a"]


def test_a_smaller_limit_after_a_restart_holds(kept: KeptModels) -> None:
    for number, name in enumerate("abc"):
        put(kept, name, used_at=number)
    again = KeptModels(kept.store.root, 600)
    again.make_room(0, keep=())
    assert there(again) == ["b", "c"]


def test_what_the_job_needs_stays(kept: KeptModels) -> None:
    first = put(kept, "a", used_at=1)
    put(kept, "b", used_at=2)
    kept.make_room(700, keep=[first])
    assert there(kept) == ["a"]
    with pytest.raises(InputFetchError, match="than there is room for") as caught:
        kept.make_room(701, keep=[first])
    assert caught.value.retryable
    assert there(kept) == ["a"]


def test_a_held_file_stays_also_for_another_worker(kept: KeptModels) -> None:
    sha256 = put(kept, "a", used_at=1)
    put(kept, "b", used_at=2)
    held = kept.hold(sha256)
    assert held is not None
    program = (
        "import sys; from pathlib import Path; "
        "from rp_handler.job_models.kept import KeptModels; "
        f"KeptModels(Path(sys.argv[1]), {LIMIT}).make_room(700, keep=())"
    )
    command = [sys.executable, "-c", program, str(kept.store.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, env=environment, check=True)
    assert there(kept) == ["a"]
    held.close()
    kept.make_room(LIMIT, keep=())
    assert there(kept) == []


def test_a_file_that_is_gone_is_not_held(kept: KeptModels) -> None:
    sha256 = put(kept, "a", used_at=1)
    kept.store.path_of(sha256).unlink()
    assert kept.hold(sha256) is None
    assert kept.listing() == []


def test_interrupted_downloads_count_and_make_room(kept: KeptModels) -> None:
    tmp = kept.store.root / "tmp"
    tmp.mkdir()
    for name, used_at in (("old", 1), ("needed", 2)):
        for suffix in (".partial", ".parts"):
            (tmp / f"{name}{suffix}").write_bytes(bytes(300))
            os.utime(tmp / f"{name}{suffix}", (used_at, used_at))
    put(kept, "a", used_at=3)
    kept.make_room(200, keep=["needed"])
    assert sorted(path.name for path in tmp.iterdir()) == ["needed.partial", "needed.parts"]
    kept.make_room(700, keep=["needed"])
    assert there(kept) == []


def test_what_was_learnt_of_a_removed_file_goes_with_it(kept: KeptModels) -> None:
    first, second = put(kept, "a", used_at=1), put(kept, "b", used_at=2)
    tmp = kept.store.root / "tmp"
    tmp.mkdir()
    for sha256 in (first, second):
        (tmp / f"{sha256[:9]}.learnt").write_text(f"tag {sha256} 300\n")
    kept.make_room(600, keep=())
    assert [path.name for path in tmp.iterdir()] == [f"{second[:9]}.learnt"]


def test_a_record_that_is_broken_or_of_something_else_is_ignored(kept: KeptModels) -> None:
    sha256 = put(kept, "a", used_at=1)
    for number, content in enumerate((b"\xff", b"[]", b'{"path": 1}', b"{}")):
        (kept.store.root / f"used/{number}.json").write_bytes(content)
    assert kept.listing() == [{"path": "loras/a", "sha256": sha256}]
    (kept.store.root / f"used/{sha256}.json").write_bytes(b"")
    assert kept.listing() == []
    assert ModelStore(kept.store.root).holds(sha256)


def test_whoever_waits_to_write_a_file_does_not_wait_for_its_users(kept: KeptModels) -> None:
    sha256 = put(kept, "a", used_at=1)
    held = kept.hold(sha256)
    assert held is not None
    assert not is_locked(kept.store.path_of(sha256))
    held.close()


def test_a_download_that_is_under_way_stays(kept: KeptModels) -> None:
    tmp = kept.store.root / "tmp"
    tmp.mkdir()
    (tmp / "key.partial").write_bytes(bytes(600))
    with (tmp / "key.partial").open("rb") as file:
        lock(file.fileno())
        with pytest.raises(InputFetchError):
            kept.make_room(500, keep=())
    kept.make_room(500, keep=())
    assert not list(tmp.iterdir())
