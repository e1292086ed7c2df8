"""pip's settings are read as pip reads them, and passed to uv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from comfy_errors import InvalidInputError
from runpod_comfy.sources.index.pip_settings import (
    PipSettings,
    read_pip_settings,
    uv_arguments,
    uv_environment,
)
from tests.http_server import serve
from tests.package_index import make_wheel, write_index


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose configuration files are all below `tmp_path`."""
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def configure(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def site_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the whole machine, wherever this machine has it."""
    path = tmp_path / "xdg" / "pip" / "pip.conf"
    monkeypatch.setattr(
        "runpod_comfy.sources.index.pip_settings._global_files", lambda _environment: [path]
    )
    return path


def user_file(home: dict[str, str]) -> Path:
    return Path(home["HOME"]) / ".config" / "pip" / "pip.conf"


def test_nothing_configured_means_pypi(home: dict[str, str], site_wide: Path) -> None:
    settings = read_pip_settings(home)
    assert settings == PipSettings()
    assert settings.index_urls == ("https://pypi.org/simple",)
    assert uv_arguments(settings, {}) == []
    assert uv_environment(settings, {}) == {}


def test_each_file_overrides_the_ones_before_it(
    home: dict[str, str], site_wide: Path, tmp_path: Path
) -> None:
    configure(site_wide, "[global]", "index-url = https://machine", "timeout = 7", "cert = /c.pem")
    configure(
        Path(home["HOME"]) / ".pip" / "pip.conf", "[global]", "index-url = https://old", "timeout=8"
    )
    configure(user_file(home), "[global]", "index-url = https://user")
    settings = read_pip_settings(home)
    assert (settings.index_url, settings.timeout_s, settings.cert) == ("https://user", 8, "/c.pem")
    named = configure(tmp_path / "named.conf", "[global]", "index_url = https://named")
    settings = read_pip_settings({**home, "PIP_CONFIG_FILE": str(named)})
    # As in pip, a named file that exists stands in for the user's.
    assert (settings.index_url, settings.timeout_s) == ("https://named", 7)


def test_the_environment_wins_and_its_empty_variables_do_not_count(
    home: dict[str, str], site_wide: Path
) -> None:
    configure(user_file(home), "[global]", "index-url = https://user", "no-index = true")
    variables = {"PIP_INDEX_URL": "https://variable", "PIP_NO_INDEX": "0", "PIP_CERT": ""}
    settings = read_pip_settings({**home, **variables})
    assert (settings.index_url, settings.no_index, settings.cert) == (
        "https://variable",
        False,
        None,
    )


def test_the_section_of_install_overrides_the_global_one(
    home: dict[str, str], site_wide: Path
) -> None:
    configure(site_wide, "[install]", "index-url = https://install")
    configure(user_file(home), "[global]", "index-url = https://global", "[list]", "timeout = 1")
    settings = read_pip_settings(home)
    assert (settings.index_url, settings.timeout_s) == ("https://install", None)


def test_several_values_stand_on_lines_or_between_spaces(
    home: dict[str, str], site_wide: Path, tmp_path: Path
) -> None:
    configure(
        user_file(home),
        "[global]",
        "extra-index-url =",
        "    https://one",
        "    https://two",
        "trusted-host = a b",
    )
    settings = read_pip_settings({**home, "PIP_FIND_LINKS": f"{tmp_path} https://links"})
    assert settings.extra_index_urls == ("https://one", "https://two")
    assert settings.trusted_hosts == ("a", "b")
    assert settings.find_links == (str(tmp_path), "https://links")


def test_no_file_is_read_when_the_null_device_is_named(
    home: dict[str, str], site_wide: Path
) -> None:
    configure(user_file(home), "[global]", "index-url = https://user")
    assert read_pip_settings({**home, "PIP_CONFIG_FILE": "/dev/null"}) == PipSettings()


@pytest.mark.parametrize("lines", [("index-url = x",), ("[global]", "timeout = soon")])
def test_a_broken_configuration_is_reported_by_name(
    home: dict[str, str], site_wide: Path, lines: tuple[str, ...]
) -> None:
    configure(user_file(home), *lines)
    with pytest.raises(InvalidInputError, match=r"pip\.conf cannot be read|'timeout' is 'soon'"):
        read_pip_settings(home)


def test_everything_is_passed_to_uv_and_no_secret_in_its_arguments(tmp_path: Path) -> None:
    settings = PipSettings(
        index_url="https://me:secret@main/simple",
        extra_index_urls=("https://extra/simple", "file:///no/such/index"),
        find_links=(str(tmp_path), "/no/such/folder"),
        trusted_hosts=("main",),
        cert="/c.pem",
        client_cert="/me.pem",
        proxy="proxy:3128",
        timeout_s=180.0,
    )
    assert uv_arguments(settings, {}) == ["--index-strategy", "unsafe-best-match"]
    assert uv_environment(settings, {}) == {
        "UV_INDEX": "https://me:secret@main/simple",
        "UV_DEFAULT_INDEX": "https://extra/simple",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_INSECURE_HOST": "main",
        "UV_HTTP_TIMEOUT": "180",
        "SSL_CERT_FILE": "/c.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
        "ALL_PROXY": "http://proxy:3128",
    }
    assert "secret" not in repr(settings)


def test_a_folder_of_certificates_is_reported_as_a_folder(tmp_path: Path) -> None:
    assert uv_environment(PipSettings(cert=str(tmp_path)), {}) == {"SSL_CERT_DIR": str(tmp_path)}


def test_an_index_configured_for_uv_is_left_alone() -> None:
    settings = PipSettings(index_url="https://pip", no_index=True, cert="/c.pem")
    told = {"UV_DEFAULT_INDEX": "https://uv"}
    assert uv_arguments(settings, told) == []
    assert uv_environment(settings, told) == {"SSL_CERT_FILE": "/c.pem"}


def test_uv_finds_what_only_the_extra_indexes_have(
    tmp_path: Path, home: dict[str, str], site_wide: Path
) -> None:
    roots = [tmp_path / name for name in ("main", "extra")]
    for root, name in zip(roots, ("alpha", "beta"), strict=True):
        (root / "files").mkdir(parents=True)
        make_wheel(root / "files", name, "1.0")
        write_index(root)
    make_wheel(tmp_path, "gamma", "1.0")
    with serve(roots[0]) as main:
        configure(
            user_file(home),
            "[global]",
            f"index-url = {main}/simple/",
            f"extra-index-url = {(roots[1] / 'simple').as_uri()}",
            f"find-links = {tmp_path}",
        )
        settings = read_pip_settings(home)
        done = subprocess.run(
            [
                *(find_uv_bin(), "pip", "compile", "--no-header", "--no-annotate", "--no-cache"),
                *(*uv_arguments(settings, home), "-"),
            ],
            input="alpha\nbeta\ngamma\n",
            env={**home, "PATH": "/usr/bin:/bin", **uv_environment(settings, home)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.split() == ["alpha==1.0", "beta==1.0", "gamma==1.0"], done.stderr
