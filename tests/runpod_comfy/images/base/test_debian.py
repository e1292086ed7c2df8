"""Where the packages of a base image come from."""

from __future__ import annotations

from runpod_comfy.images.base.debian import DebianMirrors, find_mirrors, mirrors_in

_APT = """\
bookworm main https://mirror.example.org/debian/
bookworm-updates main https://mirror.example.org/debian/
bookworm-security main https://mirror.example.org/debian-security/
bookworm main https://second.example.org/debian/
bookworm stable https://download.docker.com/linux/debian/
cloud-sdk-bookworm main https://packages.example.org/apt/
"""


def test_the_mirrors_of_this_machines_apt_are_used() -> None:
    assert mirrors_in(_APT, "bookworm") == DebianMirrors(
        packages="https://mirror.example.org/debian",
        updates="https://mirror.example.org/debian",
        security="https://mirror.example.org/debian-security",
    )


def test_a_mirror_without_security_updates_is_taken_as_it_is() -> None:
    only = "bookworm main https://mirror.example.org/debian/\n"
    assert mirrors_in(only, "bookworm") == DebianMirrors(
        packages="https://mirror.example.org/debian"
    )


def test_a_machine_that_knows_no_mirror_of_the_release_asks_debian_itself() -> None:
    found = mirrors_in(_APT, "trixie")
    assert found.packages == "http://deb.debian.org/debian"
    assert found.security == "http://deb.debian.org/debian-security"


def test_a_mirror_that_is_named_is_the_only_one_asked() -> None:
    assert find_mirrors("bookworm", "https://here.example.org/debian") == DebianMirrors(
        packages="https://here.example.org/debian"
    )
