"""`options.as_of`: only what had been uploaded by the end of that day counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from tests.http_server import serve
from tests.package_index import json_index, write_index
from tests.runpod_comfy.lock.conftest import Bench

# Resolves a version in each test.
pytestmark = pytest.mark.slow

DAY = "2026-10-01"

UPLOADED = {
    "alpha-1.0-py3-none-any.whl": "2026-09-30T12:00:00Z",
    "alpha-2.0-py3-none-any.whl": "2026-10-02T00:00:00Z",
    "gamma-1.0-py3-none-any.whl": "2026-10-01T23:59:59.900Z",
}


@pytest.fixture(autouse=True)
def dated_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The index of the other tests, which now has upload times, except for `linux-only`."""
    with serve(index, json_index(index, UPLOADED)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple/")
        yield


def _versions(bench: Bench, *lines: str, as_of: str | None = DAY) -> dict[str, str]:
    lock = bench.lock("\n".join(lines), options={"as_of": as_of} if as_of else {})
    assert lock.as_of == as_of
    return {item.name: item.version for item in lock.wheels}


def test_what_was_uploaded_later_does_not_count(bench: Bench) -> None:
    assert _versions(bench, "alpha", as_of=None) == {"alpha": "2.0", "gamma": "1.0"}
    assert _versions(bench, "alpha") == {"alpha": "1.0", "gamma": "1.0"}
    assert _versions(bench, "alpha", as_of="2026-10-02") == {"alpha": "2.0", "gamma": "1.0"}


def test_a_line_that_only_a_later_release_satisfies_is_reported_with_the_day(bench: Bench) -> None:
    error = bench.error("alpha>1\n", options={"as_of": DAY})
    assert isinstance(error, UnavailableError)
    assert f"not with what was uploaded by {DAY} (options.as_of)" in error.message
    assert "alpha" in error.message
    assert "later day" in error.remedy


def test_an_index_without_times_is_named_as_the_reason(bench: Bench) -> None:
    error = bench.error("linux-only\n", options={"as_of": DAY})
    assert isinstance(error, UnavailableError)
    assert "has no upload times for linux_only-1.0-py3-none-any.whl" in error.message
    assert "remove options.as_of" in error.remedy


def test_files_without_a_time_are_left_out_and_that_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.release("alpha", "3.0")
    folder = tmp_path / "wheels"
    (bench.index / "files").rename(folder)
    (bench.index / "files").symlink_to(folder)
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert _versions(bench, "alpha") == {"alpha": "1.0", "gamma": "1.0"}
    assert any(
        "left out alpha-3.0-py3-none-any.whl: their index has no upload times" in said
        for said in bench.said
    )
    assert any(f"ignored {folder}: files there have no upload times" in said for said in bench.said)


def test_the_files_of_a_kept_release_are_those_of_that_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = bench.index / "files" / "alpha-1.0-1-py3-none-any.whl"
    shutil.copy(bench.index / "files" / "alpha-1.0-py3-none-any.whl", late)
    write_index(bench.index)
    first = bench.lock("alpha==1.0\n")
    assert len(first.wheels[0].files) == 1, "the same bytes count once"
    monkeypatch.setitem(UPLOADED, late.name, "2026-11-01T00:00:00Z")
    lock = bench.lock("alpha==1.0\n", options={"as_of": DAY}, previous=first)
    assert [file.name for file in lock.wheels[0].files] == ["alpha-1.0-py3-none-any.whl"]


def test_a_folder_of_wheels_alone_is_named_as_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bench.index / "files"))
    error = bench.error("alpha\n", options={"as_of": DAY})
    assert "Folders and find-links pages have no upload times" in error.message


def test_pins_that_move_with_the_day_are_reported_together(bench: Bench) -> None:
    first = bench.lock("alpha\n")
    bench.said.clear()
    bench.lock("alpha\n", options={"as_of": DAY}, previous=first)
    assert f"1 pin changed to releases uploaded by {DAY} (options.as_of)" in bench.said
    assert not any("goes from" in said for said in bench.said)


def test_a_day_that_has_not_passed_is_reported(bench: Bench) -> None:
    bench.lock("alpha\n", options={"as_of": "2999-01-01"})
    assert any("2999-01-01 has not passed yet" in said for said in bench.said)
