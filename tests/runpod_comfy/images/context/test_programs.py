"""Which handler an image gets: that of the sources as they are now, or one that was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.progress import say_nothing
from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.context.programs import VARIABLE, handler_digest, handler_pex

_FILES = (
    "src/comfy_errors/__init__.py",
    "src/comfy_home/manifest.py",
    "src/comfy_models/store.py",
    "src/comfy_workflows/graph.py",
    "src/rp_handler/main.py",
    "src/rp_handler/BUILD",
    "src/BUILD",
    "lockfiles/default.lock",
    "pants.toml",
    "images/handler/linux-x86_64-cp311.json",
)


@pytest.fixture(autouse=True)
def _none_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a file of each kind that the handler is made of."""
    for name in (*_FILES, "src/runpod_comfy/lock/model.py"):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before\n")
    return tmp_path / "project"


@pytest.mark.parametrize("changed", _FILES)
def test_the_digest_follows_whatever_the_handler_is_made_of(project: Path, changed: str) -> None:
    before = handler_digest(project)
    (project / changed).write_text("after\n")
    assert handler_digest(project) != before


def test_the_digest_follows_nothing_else(project: Path) -> None:
    before = handler_digest(project)
    (project / "src/runpod_comfy/lock/model.py").write_text("after\n")
    (project / "src/rp_handler/__pycache__").mkdir()
    (project / "src/rp_handler/__pycache__/main.cpython-311.pyc").write_bytes(b"compiled")
    assert handler_digest(project) == before


def test_a_new_and_a_renamed_source_count(project: Path) -> None:
    before = handler_digest(project)
    added = project / "src/rp_handler/added.py"
    added.write_text("before\n")
    with_it = handler_digest(project)
    added.rename(project / "src/rp_handler/renamed.py")
    assert len({before, with_it, handler_digest(project)}) == 3


def test_the_one_of_these_sources_is_taken_from_the_cache(project: Path, tmp_path: Path) -> None:
    cache = Cache(root=tmp_path / "cache")
    cache.handlers.mkdir(parents=True)
    kept = cache.handlers / f"handler-{handler_digest(project)}-linux-x86_64.pex"
    kept.write_bytes(b"a PEX")
    assert handler_pex("linux-x86_64", cache, say_nothing, project=project) == kept


def test_without_pants_it_is_told_how_to_get_one(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as raised:
        handler_pex("linux-x86_64", Cache(root=tmp_path / "cache"), say_nothing, project=project)
    assert VARIABLE in raised.value.remedy


def test_one_that_was_given_is_taken_as_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_sources = handler_digest(project)
    given = tmp_path / "given.pex"
    given.write_bytes(b"one PEX")
    monkeypatch.setenv(VARIABLE, str(given))
    cache = Cache(root=tmp_path / "cache")
    assert handler_pex("linux-x86_64", cache, say_nothing, project=project) == given
    first = handler_digest(project)
    given.write_bytes(b"another PEX")
    assert len({of_the_sources, first, handler_digest(project)}) == 3


def test_one_that_was_given_and_is_not_there_is_an_error(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.pex"))
    with pytest.raises(InvalidInputError, match=r"none\.pex"):
        handler_digest(project)
