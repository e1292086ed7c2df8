"""The cache keeps what a lock or a home needs, and gives back the room of everything else."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_models.model_file import ModelSource
from comfy_models.store import MEMORY_NAME
from comfy_models.transfer.place import unhashed_key
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots, record_root
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import verify
from runpod_comfy.lock.model import LockedNode, UnhashedModel
from runpod_comfy.lock.python.wheels import handler_packages
from runpod_comfy.lock.store import write_lock
from runpod_comfy.sources.git.source import GitSource
from runpod_comfy.upkeep.gc import Clearing, clear_cache
from runpod_comfy.upkeep.unused import Unused
from tests.git_repositories import GitRepository
from tests.program import next_line, start_python
from tests.runpod_comfy.homes.conftest import Version, imports, snapshot, times
from tests.runpod_comfy.homes.test_killed import Runner

DAY_S = 24 * 3600
NOW = 1_800_000_000


def _entries(clearing: Clearing) -> list[Unused]:
    """Without the empty files that processes wait for each other at."""
    return [entry for entry in clearing.removed if entry.path.suffix != ".lock"]


def _would_go(cache: Cache) -> set[str]:
    return {entry.kind for entry in _entries(clear_cache(cache, now=NOW, dry_run=True))}


def test_what_a_home_needs_is_kept(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    realize(version.job())
    before = snapshot(version.cache.root)
    clearing = clear_cache(version.cache, now=NOW)
    assert _entries(clearing) == []
    assert clearing.unknown == ()
    after = snapshot(version.cache.root)
    assert {name for name in before if not name.startswith(("uv/", "tmp/"))} <= set(after)
    # Nothing is lost: the same version needs nothing but the cache.
    again = realize(version.job(version.folder / "again", offline=True))
    assert {layer.outcome for layer in again.layers if layer.name in ("torch", "check")} == {
        "recalled"
    }


def test_a_removed_home_leaves_nothing_behind(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    job = version.job()
    realize(job)
    removal = plan_removal(job.home.root, remove_models=True, remove_root=True)
    remove(removal, cache=version.cache)
    clearing = clear_cache(version.cache, now=NOW)
    assert {entry.kind for entry in _entries(clearing)} >= {
        "environment",
        "tree",
        "check",
        "model",
        "Python package",
    }
    assert clearing.freed_bytes > 0
    left = [path for path in version.cache.root.rglob("*") if path.is_file()]
    assert not [path for path in left if "environments" in path.parts or "trees" in path.parts]
    assert _entries(clear_cache(version.cache, now=NOW)) == []


def test_a_dry_run_tells_the_same_and_touches_nothing(version: Version) -> None:
    realize(version.job())
    remove(plan_removal(version.job().home.root, remove_root=True), cache=version.cache)
    before = times(version.cache.root)
    told = clear_cache(version.cache, now=NOW, dry_run=True)
    assert times(version.cache.root) == before
    done = clear_cache(version.cache, now=NOW)
    assert told.removed == done.removed
    assert told.removed != ()


def test_a_dry_run_does_not_stumble_over_commands_at_work(cache: Cache, tmp_path: Path) -> None:
    record_root(cache, kind="models", path=tmp_path)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            with tempfile.TemporaryDirectory(dir=cache.tmp) as folder:
                for number in range(20):
                    (Path(folder) / f"{number}").mkdir()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(100):
            clear_cache(cache, dry_run=True)
    finally:
        ended.set()
        worker.join()


def test_a_lock_alone_keeps_what_it_needs(version: Version) -> None:
    job = version.job()
    realize(job)
    spec = version.folder / "versions" / "small.json"
    write_lock(job.lock, spec_path=spec, cache=version.cache)
    remove(plan_removal(job.home.root, remove_root=True), cache=version.cache)
    assert _would_go(version.cache) == set()


def test_a_changed_lock_counts_as_it_is_now(version: Version) -> None:
    job = version.job()
    realize(job)
    spec = version.folder / "versions" / "small.json"
    lock_file = write_lock(job.lock, spec_path=spec, cache=version.cache)[0]
    remove(plan_removal(job.home.root, remove_root=True), cache=version.cache)
    version.wheels = [version.wheel("beta", "1.0")]
    lock_file.write_bytes(version.lock().to_bytes())
    assert _would_go(version.cache) == {"environment", "check", "Python package", "lock"}


def test_a_home_that_is_gone_counts_for_seven_days(version: Version) -> None:
    realize(version.job())
    shutil.rmtree(version.home)
    first = clear_cache(version.cache, now=NOW)
    assert _entries(first) == []
    assert "is gone; what it needs is kept for 7 more days" in first.remarks[0]
    assert _entries(clear_cache(version.cache, now=NOW + 7 * DAY_S - 1)) == []
    last = clear_cache(version.cache, now=NOW + 7 * DAY_S)
    assert [root.path for root in last.dropped] == [version.home]
    assert last.removed != ()
    assert read_roots(version.cache) == []


def test_a_folder_that_holds_no_version_any_more_is_not_called_gone(version: Version) -> None:
    realize(version.job())
    (version.home / ".comfy_env").unlink()
    [remark] = clear_cache(version.cache, now=NOW + 1).remarks
    assert remark.startswith(f"{version.folder / 'home'} holds no version any more; ")
    [remark] = clear_cache(version.cache, now=NOW + 6 * DAY_S + 1).remarks
    assert remark.endswith("kept for 1 more day")


def test_what_frees_nothing_is_explained_by_what_the_cache_is_kept_for(version: Version) -> None:
    version.models = [version.model("a.bin", "weights" * 5000)]
    job = version.job()
    realize(job)
    lock_file = write_lock(
        job.lock, spec_path=version.folder / "versions" / "small.json", cache=version.cache
    )[0]
    record_root(version.cache, kind="models", path=version.folder / "elsewhere")
    (version.folder / "elsewhere").mkdir()
    remove(plan_removal(job.home.root, remove_models=True, remove_root=True), cache=version.cache)
    for dry_run in (True, False):
        clearing = clear_cache(version.cache, now=NOW, dry_run=dry_run)
        sizes = {each.root.path: each.size_bytes for each in clearing.kept}
        assert list(sizes) == [lock_file, version.folder / "elsewhere"]
        assert sizes[version.folder / "elsewhere"] == 0
    # As much as would go without the lock: nothing is counted twice.
    lock_file.unlink()
    clear_cache(version.cache, now=NOW)
    freed = clear_cache(version.cache, now=NOW + 8 * DAY_S).freed_bytes
    assert 35_000 < sizes[lock_file] <= freed


def test_the_cache_is_read_once_and_not_again_after_the_lock_is_released(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.models = [version.model("a.bin", "weights")]
    job = version.job()
    realize(job)
    realize(version.job(version.folder / "again"))
    spec = version.folder / "versions" / "small.json"
    write_lock(job.lock, spec_path=spec, cache=version.cache)
    expected = clear_cache(version.cache, now=NOW, dry_run=True).kept
    assert len(expected) >= 3
    walk, walked = os.walk, []

    def counted(top: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
        walked.append(Path(top))
        return walk(top)

    def delete(*_arguments: object, **_options: object) -> None:
        # The lock is released: other commands work now, and their files come and go.
        monkeypatch.setattr("runpod_comfy.upkeep.unused.unused_models", vanished)

    def vanished(*_arguments: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "walk", counted)
    monkeypatch.setattr(shutil, "rmtree", delete)
    (version.cache.tmp / "leftover").touch()
    assert clear_cache(version.cache, now=NOW).kept == expected
    assert walked.count(version.cache.uv) == 1


def test_a_home_that_comes_back_starts_afresh(version: Version) -> None:
    realize(version.job())
    (version.home).rename(version.folder / "unmounted")
    clear_cache(version.cache, now=NOW)
    (version.folder / "unmounted").rename(version.home)
    clear_cache(version.cache, now=NOW + 6 * DAY_S)
    (version.home).rename(version.folder / "unmounted")
    assert _entries(clear_cache(version.cache, now=NOW + 8 * DAY_S)) == []


def test_a_lock_that_cannot_be_read_counts_as_it_was(version: Version) -> None:
    job = version.job()
    realize(job)
    spec = version.folder / "versions" / "small.json"
    lock_file = write_lock(job.lock, spec_path=spec, cache=version.cache)[0]
    remove(plan_removal(job.home.root, remove_root=True), cache=version.cache)
    lock_file.write_text("<<<<<<< conflict")
    clearing = clear_cache(version.cache, now=NOW)
    assert _entries(clearing) == []
    assert any(str(lock_file) in remark for remark in clearing.remarks)


def test_a_recorded_lock_of_another_program_stops_it(version: Version, tmp_path: Path) -> None:
    realize(version.job())
    lock = tmp_path / "gone.lock.json"
    record_root(version.cache, kind="lock", path=lock, lock_bytes=b'{"lock_version": 3}')
    with pytest.raises(InvalidInputError, match=lock.name):
        clear_cache(version.cache, now=NOW)


def test_a_cache_without_any_record_is_left_alone(version: Version) -> None:
    realize(version.job())
    shutil.rmtree(version.cache.roots)
    with pytest.raises(UnavailableError, match="no record"):
        clear_cache(version.cache, now=NOW)
    # The next look of realize at the home, which finds nothing to do, records it.
    assert not realize(version.job()).changed
    assert _entries(clear_cache(version.cache, now=NOW)) == []


def test_a_model_that_a_link_leads_to_is_kept(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    job = version.job(models_dir=version.folder / "shared")
    realize(job)
    remove(plan_removal(job.home.root, remove_root=True), cache=version.cache)
    assert "model" not in _would_go(version.cache)
    assert (version.folder / "shared/loras/a.bin").read_text() == "weights"
    (version.folder / "shared/loras/a.bin").unlink()
    assert "model" in _would_go(version.cache)


def test_a_store_elsewhere_is_cleared_only_on_request(version: Version) -> None:
    version.cache = Cache(root=version.cache.root, models_root=version.folder / "volume")
    version.models = [version.model("a.bin", "weights")]
    job = version.job()
    realize(job)
    remove(plan_removal(job.home.root, remove_models=True), cache=version.cache)
    clearing = clear_cache(version.cache, now=NOW)
    assert "model" not in {entry.kind for entry in _entries(clearing)}
    assert "--models" in clearing.remarks[-1]
    cleared = clear_cache(version.cache, now=NOW, models=True)
    assert cleared.unknown == ()
    left = [path for path in (version.folder / "volume").rglob("*") if path.is_file()]
    assert [path.name for path in left] == [MEMORY_NAME]


def test_what_dead_transfers_left_goes_and_what_is_being_written_stays(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    realize(version.job())
    folder = version.cache.models / "tmp"
    folder.mkdir(exist_ok=True)
    dead = [folder / f"{'1' * 64}{suffix}" for suffix in (".partial", ".parts")]
    alive = folder / f"{'2' * 64}.partial"
    for path in (*dead, alive):
        path.touch()
    with alive.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        clear_cache(version.cache, now=NOW)
    assert [path.exists() for path in (*dead, alive)] == [False, False, True]


def test_a_half_download_of_a_model_that_a_lock_needs_stays(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    url = "https://host/x.gguf"
    unhashed = UnhashedModel(
        name="x.gguf",
        sources=[ModelSource(url=url)],
        target_path="vae/x.gguf",
        format="gguf",
        index=1,
    )
    lock = version.lock("half").model_copy(update={"unhashed_models": [unhashed]})
    path = version.folder / "half.lock.json"
    path.write_bytes(lock.to_bytes())
    record_root(version.cache, kind="lock", path=path, lock_bytes=lock.to_bytes())
    folder = version.cache.models / "tmp"
    folder.mkdir(parents=True)
    keys = (unhashed_key(url), lock.models[0].sha256)
    for key in (*keys, "1" * 64):
        (folder / f"{key}.partial").touch()
    clear_cache(version.cache, now=NOW)
    assert {left.stem for left in folder.iterdir()} == set(keys)
    path.unlink()
    clear_cache(version.cache, now=NOW)
    clear_cache(version.cache, now=NOW + 8 * 24 * 3600)
    assert not list(folder.iterdir())


def test_one_of_two_versions_goes_and_the_other_stays_whole(version: Version) -> None:
    realize(version.job(version.folder / "one"))
    other = version.lock("other")
    version.write("painter/__init__.py", "NODE_CLASS_MAPPINGS = {}\nNEW = 1\n")
    version.wheels = [version.wheel("beta", "2.0")]
    realize(version.job(version.folder / "two", lock=version.lock("two")))
    assert other.version_id == "other"
    before = snapshot(version.folder / "one")
    remove(plan_removal(version.folder / "two", remove_root=True), cache=version.cache)
    removed = clear_cache(version.cache, now=NOW).removed
    assert {"environment", "tree", "check", "Python package"} <= {entry.kind for entry in removed}
    assert snapshot(version.folder / "one") == before
    assert imports(version.folder / "one", "alpha")
    realize(version.job(version.folder / "three", lock=other, offline=True))


def test_leftovers_of_killed_commands_go(version: Version) -> None:
    realize(version.job())
    (version.cache.tmp / "tree-abc" / "tree").mkdir(parents=True)
    (version.cache.tmp / "archive-abc").write_bytes(b"x" * 100_000)
    clearing = clear_cache(version.cache, now=NOW)
    assert {entry.kind for entry in _entries(clearing)} == {"leftover"}
    assert clearing.freed_bytes >= 100_000
    assert list(version.cache.tmp.iterdir()) == []


def test_the_installer_of_the_last_image_stays_for_each_platform(version: Version) -> None:
    realize(version.job())
    tools = version.cache.tools
    tools.mkdir()
    ages = {
        "uv-0.13.8-linux-x86_64": 3,
        "uv-0.13.9-linux-x86_64": 1,
        "uv-0.13.9-linux-aarch64": 2,
    }
    for name, days in ages.items():
        (tools / name).touch()
        os.utime(tools / name, (NOW - days * DAY_S, NOW - days * DAY_S))
    clear_cache(version.cache, now=NOW)
    assert sorted(path.name for path in tools.iterdir()) == [
        "uv-0.13.9-linux-aarch64",
        "uv-0.13.9-linux-x86_64",
    ]


def test_the_handlers_packages_stay_for_images_of_any_version(version: Version) -> None:
    realize(version.job())
    wheel = handler_packages("3.12", "linux-aarch64").wheels[0].files[0]
    version.cache.archives.mkdir(parents=True, exist_ok=True)
    kept, other = version.cache.archives / wheel.sha256, version.cache.archives / ("0" * 64)
    kept.touch()
    other.touch()
    clear_cache(version.cache, now=NOW)
    assert (kept.exists(), other.exists()) == (True, False)


def test_what_is_not_of_its_making_is_left_alone_and_named(version: Version) -> None:
    realize(version.job())
    strangers = [
        version.cache.root / "notes.txt",
        version.cache.environments / "old-layout",
        version.cache.trees / "no-pin",
    ]
    for path in strangers:
        path.write_text("mine")
    clearing = clear_cache(version.cache, now=NOW)
    assert set(clearing.unknown) == set(strangers)
    assert all(path.exists() for path in strangers)


def test_files_that_a_home_shares_free_nothing(version: Version) -> None:
    version.torch = [version.wheel("torchlike", "1.0")]
    job = version.job()
    realize(job)
    record = [root for root in read_roots(version.cache) if root.kind == "home"]
    assert len(record) == 1
    lock_of_another = version.lock("another").model_copy(update={"env": {"A": "1"}})
    shutil.rmtree(version.cache.roots)
    record_root(
        version.cache,
        kind="home",
        path=job.home.root,
        lock_bytes=lock_of_another.model_copy(
            update={
                "python": lock_of_another.python.model_copy(update={"wheels": []}),
            }
        ).to_bytes(),
    )
    clearing = clear_cache(version.cache, now=NOW)
    environment = [entry for entry in clearing.removed if entry.kind == "environment"]
    whole = sum(p.lstat().st_blocks * 512 for p in job.home.venv.rglob("*") if p.is_file())
    assert len(environment) == 1
    assert environment[0].freed_bytes < whole
    assert imports(job.home.root, "alpha")


def test_it_waits_for_a_command_that_uses_the_cache(version: Version) -> None:
    realize(version.job())
    program = (
        "import sys; from pathlib import Path\n"
        "from runpod_comfy.cache.paths import Cache\n"
        "from runpod_comfy.upkeep.gc import clear_cache\n"
        "clear_cache(Cache(root=Path(sys.argv[1])), say=lambda m: print(m, flush=True))\n"
        "print('done', flush=True)\n"
    )
    with version.cache.using():
        process = start_python("-c", program, version.cache.root)
        assert next_line(process).startswith("Waiting for the commands")
        (version.cache.tmp / "mine").mkdir()
        assert process.poll() is None
        (version.cache.tmp / "mine").rmdir()
    out, _ = process.communicate()
    assert out == "done\n"


def test_git_repositories_keep_the_commits_of_locks_and_lose_the_others(
    version: Version, node_git: GitRepository
) -> None:
    fetch_context = FetchContext(cache=version.cache, base_dir=version.folder)
    old = node_git.git("rev-parse", "HEAD")
    node_git.write("big.bin", "x" * 200_000)
    new = node_git.commit("Another one")

    def fetch(commit: str) -> str:
        request = TreeRequest(repo=node_git.url, ref="main", commit=commit)
        return GitSource().fetch(request, fetch_context).tree_hash

    fetch(new)
    node = LockedNode(name="small", repo=node_git.url, ref="main", commit=old, tree_hash=fetch(old))
    version.changes = {"custom_nodes": [node]}
    realize(version.job())
    clearing = clear_cache(version.cache, now=NOW)
    assert clearing.commits == 1
    assert [entry.kind for entry in _entries(clearing)] == ["tree", "tree"]
    (repository,) = version.cache.git.iterdir()
    kept = subprocess.run(
        ["git", "-C", str(repository), "for-each-ref", "--format=%(refname)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert kept.stdout.split() == [f"refs/kept/{old}"]
    sizes = [path.stat().st_size for path in repository.rglob("*") if path.is_file()]
    assert sum(sizes) < 200_000
    # The commit that stayed is whole.
    shutil.rmtree(version.cache.trees)
    fetch(old)
    remove(plan_removal(version.job().home.root, remove_root=True), cache=version.cache)
    assert "git repository" in _would_go(version.cache)


def test_killed_after_renaming_the_next_one_deletes_the_rest(version: Version) -> None:
    realize(version.job())
    remove(plan_removal(version.job().home.root, remove_root=True), cache=version.cache)
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from runpod_comfy.cache.paths import Cache\n"
        "from runpod_comfy.upkeep import gc\n"
        "gc.remove_tree = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "gc.clear_cache(Cache(root=Path(sys.argv[1])))\n"
    )
    assert start_python("-c", program, version.cache.root).wait() == -9
    assert list(version.cache.environments.iterdir()) == []
    rest = clear_cache(version.cache, now=NOW)
    assert {entry.kind for entry in _entries(rest)} == {"leftover"}
    assert list(version.cache.tmp.iterdir()) == []


_CLEARS = """
import sys, time
from pathlib import Path
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.python.wheels import handler_packages
from runpod_comfy.upkeep.gc import clear_cache
while True:
    clear_cache(Cache(root=Path(sys.argv[1])))
    time.sleep(0.05)
"""


def test_clearing_again_and_again_while_versions_are_made_takes_nothing_from_them(
    version: Version,
) -> None:
    version.models = [version.model("a.bin", "weights")]
    version.cache.root.mkdir()
    jobs = [version.job(version.folder / "home-0")]
    for number in (1, 2):
        version.wheels = [version.wheel("alpha", f"{number}.5")]
        version.write("painter/__init__.py", f"NODE_CLASS_MAPPINGS = {{}}\nN = {number}\n")
        folder = version.folder / f"base-{number}"
        shutil.copytree(version.folder, folder, ignore=shutil.ignore_patterns("cache", "base-*"))
        jobs.append(version.job(version.folder / f"home-{number}", base_dir=folder))
    shutil.rmtree(version.folder / "painter")
    version.write("painter/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
    # What is recorded while nothing is: a cache without any record is left alone.
    record_root(version.cache, kind="models", path=version.folder)
    clearing = start_python("-c", _CLEARS, version.cache.root)
    try:
        running = [Runner(job=job).start() for job in jobs]
        ended = [process.communicate() for process in running]
        assert [out for out, _ in ended] == ["True\n"] * 3, ended
        assert clearing.poll() is None
    finally:
        clearing.kill()
        clearing.wait()
    for job in jobs:
        assert verify(job).faults == []


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(InvalidInputError, match="is not a folder"):
        clear_cache(Cache(root=tmp_path / "cache"))
