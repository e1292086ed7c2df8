"""What is noted of an environment: what no RECORD vouches for, and only that."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from runpod_comfy.homes.verify.listing import (
    LISTING,
    read_listing,
    recorded_files,
    walk,
    write_listing,
)

_PACKAGES = "lib/python3.11/site-packages"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """One package whose RECORD has a hash for one file and none for another."""
    venv = tmp_path / "venv"
    packages = venv / _PACKAGES
    info = packages / "One_Two-1.0.dist-info"
    info.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / "tool").write_text("#!/bin/sh\n")
    (venv / "bin" / "python").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (packages / "one, two.py").write_text("A = 1\n")
    (packages / "unhashed.py").write_text("B = 2\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"A = 1\n").digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(
        f'"one, two.py",sha256={digest},6\nunhashed.py,,\nOne_Two-1.0.dist-info/RECORD,,\n'
        f"../../../bin/tool,md5=abc,10\n{venv}/bin/named in full,sha256={digest},6\n"
    )
    return venv


def test_a_record_tells_hashes_by_the_path_from_the_environment(venv: Path) -> None:
    found = recorded_files(venv)
    assert found[f"{_PACKAGES}/one, two.py"].sha256 == hashlib.sha256(b"A = 1\n").hexdigest()
    assert found[f"{_PACKAGES}/one, two.py"].distributions == ("One_Two-1.0",)
    assert found[f"{_PACKAGES}/unhashed.py"].sha256 is None
    assert found["bin/named in full"].sha256 == found[f"{_PACKAGES}/one, two.py"].sha256
    # A hash that is not a sha256 vouches for nothing.
    assert found["bin/tool"].sha256 is None


def test_everything_else_is_listed(venv: Path) -> None:
    write_listing(venv)
    listing = read_listing(venv)
    assert listing is not None
    assert set(listing) == set(walk(venv)) - {LISTING, f"{_PACKAGES}/one, two.py"}
    assert listing["bin/python"] == "link to /usr/bin/python3"
    assert listing["pyvenv.cfg"] == hashlib.sha256(b"home = /usr/bin\n").hexdigest()


def test_the_same_environment_gives_the_same_list(venv: Path) -> None:
    write_listing(venv)
    first = (venv / LISTING).read_bytes()
    write_listing(venv)
    assert (venv / LISTING).read_bytes() == first
    assert (venv / LISTING).stat().st_mtime == (venv / "pyvenv.cfg").stat().st_mtime


@pytest.mark.parametrize("damage", ["nothing there", "not JSON", "another hash"])
def test_a_list_that_is_not_as_it_was_written_is_none(venv: Path, damage: str) -> None:
    write_listing(venv)
    listing = venv / LISTING
    if damage == "nothing there":
        listing.unlink()
    elif damage == "not JSON":
        listing.write_text("{")
    else:
        document = json.loads(listing.read_text())
        document["files"]["pyvenv.cfg"] = "0" * 64
        listing.write_text(json.dumps(document))
    assert read_listing(venv) is None


def test_a_file_that_two_packages_have_is_listed_if_they_differ(venv: Path) -> None:
    packages = venv / _PACKAGES
    first = (packages / "One_Two-1.0.dist-info/RECORD").read_text()
    other = packages / "other-1.0.dist-info"
    other.mkdir()
    (other / "RECORD").write_text(first.splitlines()[0] + "\n")
    same = recorded_files(venv)[f"{_PACKAGES}/one, two.py"]
    assert same.distributions == ("One_Two-1.0", "other-1.0")
    assert same.sha256 == hashlib.sha256(b"A = 1\n").hexdigest()
    (other / "RECORD").write_text('"one, two.py",sha256=QUJD,6\n')
    write_listing(venv)
    assert f"{_PACKAGES}/one, two.py" in (read_listing(venv) or {})
