"""A version in one file, taken to a machine that has nothing and reaches nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.small_versions import SmallVersions
from tests.program import Outcome, Program, our_modules

_NOWHERE = "http://127.0.0.1:9"
# The index of these versions has no packages but theirs.
_CREATE = ("bundle", "create", "two", "--without-handler")
# A network of its own, with nothing but loopback, which the engine listens on.
_ALONE = 'ip link set lo up && exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Away:
    """Another machine: a home, a cache and a working directory of its own, and no network."""

    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _NOWHERE)
        return {
            **kept,
            **proxies,
            "HOME": str(self.folder),
            "COMFY_CACHE_ROOT": str(self.cache),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{_NOWHERE}/simple",
            **our_modules(),
        }

    def __call__(self, *arguments: str | Path) -> Outcome:
        work = self.folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "runpod_comfy.cli.app", *map(str, arguments)]
        done = subprocess.run(
            [*_without_network(), *program],
            cwd=work,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)


def _without_network() -> list[str]:
    """What starts a program where no network is, if this machine lets us."""
    alone = ["unshare", "-rn", "sh", "-c", _ALONE, "sh"]
    if shutil.which("unshare") and shutil.which("ip"):
        done = subprocess.run([*alone, "true"], capture_output=True, check=False)
        if done.returncode == 0:
            return alone
    return []


@pytest.fixture(scope="module")
def bundle(small: SmallVersions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "two.bundle"
    created = small.program()(*_CREATE, "-o", path)
    assert created.code == 0, created.err
    return path


@pytest.fixture
def away(tmp_path: Path, small: SmallVersions) -> Iterator[Away]:
    """While a test uses it, nothing that the version was made of is at its place."""
    hidden = [small.folder.parent / name for name in ("repositories", "models")]
    for folder in hidden:
        folder.rename(folder.with_suffix(".hidden"))
    yield Away(folder=tmp_path / "away")
    for folder in hidden:
        folder.with_suffix(".hidden").rename(folder)


def test_a_version_goes_to_a_machine_without_a_network_and_runs_there(
    small: SmallVersions, bundle: Path, away: Away, tmp_path: Path
) -> None:
    refused = away("realize", "two", "--offline")
    assert refused.code == 3
    loaded = away("bundle", "load", bundle, "--json").document()
    lock = small.folder / "lockfiles" / "comfy-two.lock.json"
    assert (loaded["version_id"], loaded["trees"], loaded["wheels"]) == ("two", 3, 5)
    assert loaded["interpreter"] is True
    kept = away.cache / "loaded" / "lockfiles" / lock.name
    assert kept.read_bytes() == lock.read_bytes()
    realized = away("realize", "two", "--offline")
    assert realized.code == 0, realized.err
    assert "Traceback" not in realized.err
    home = away.folder / "comfy-two"
    assert (home / "ComfyUI/custom_nodes/dancer/__init__.py").is_file()
    assert (home / "models/loras/m2.safetensors").stat().st_size > 1_600_000
    workflow = tmp_path / "smoke.json"
    workflow.write_text("{}")
    ran = away("run", "two", "--offline", "--workflow", workflow, "--output", "base64")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["version"]["lock"] == loaded["lock_digest"]
    again = tmp_path / "again.bundle"
    assert away(*_CREATE, "-o", again).code == 0
    assert again.read_bytes() == bundle.read_bytes()


def test_loading_a_second_version_and_nothing_asks_an_index(
    small: SmallVersions, bundle: Path, away: Away
) -> None:
    asked = dict(small.asked)
    assert away("bundle", "load", bundle).code == 0
    variables = {"COMFY_CACHE_ROOT": str(away.cache), "HOME": str(away.folder)}
    online = Program(folder=small.folder, variables={**small.variables, **variables})
    realized = online("realize", "two", "--target", away.folder / "home")
    assert realized.code == 0, realized.err
    assert dict(small.asked) == asked


def test_what_a_bundle_without_models_leaves_out_is_named(
    small: SmallVersions, tmp_path: Path, away: Away
) -> None:
    path = tmp_path / "bare.bundle"
    assert small.program()(*_CREATE, "--without-models", "-o", path).code == 0
    assert away("bundle", "load", path).code == 0
    error = away("realize", "two", "--offline").failed_with(3)
    assert "2 items are missing here" in error
    assert "model m0.safetensors (1.6 MB)" in error
    assert "model m2.safetensors (1.6 MB)" in error
    assert not (away.folder / "comfy-two").exists()


def test_errors_of_bundles_have_exit_codes_of_their_own(
    small: SmallVersions, bundle: Path, away: Away, tmp_path: Path
) -> None:
    assert "no file" in away("bundle", "load", tmp_path / "none").failed_with(3)
    whole = bundle.read_bytes()
    spoilt = tmp_path / "spoilt"
    spoilt.write_bytes(whole[:-1000])
    assert "truncated" in away("bundle", "load", spoilt).failed_with(2)
    changed = bytearray(whole)
    changed[len(whole) - 5000] ^= 1
    spoilt.write_bytes(changed)
    assert "the model m" in away("bundle", "load", spoilt).failed_with(4)
    shown = away("bundle", "show", bundle, "--json").document()
    assert shown["version_id"] == "two"
    unknown = small.program()(*_CREATE, "-o", tmp_path / "x", "--platform", "bsd")
    assert "not for bsd" in unknown.failed_with(2)


def test_offline_with_empty_caches_all_is_named_and_neither_git_nor_an_index_is_asked(
    small: SmallVersions, tmp_path: Path
) -> None:
    asked, fetched = dict(small.asked), small.git_fetches()
    program = small.program(COMFY_CACHE_ROOT=tmp_path / "cache")
    told = program("realize", "two", "--offline", "--target", tmp_path / "home").failed_with(3)
    assert "8 items are missing here" in told
    for name in ("tree core: file://", "tree node:dancer:", "tree node:painter:"):
        assert name in told
    for name in ("torch 2.1.0", "alpha 1.0", "beta 2.0", "delta 4.0", "gamma 3.0"):
        assert f"package {name} (" in told
    assert (dict(small.asked), small.git_fetches()) == (asked, fetched)
    assert not (tmp_path / "home").exists()
