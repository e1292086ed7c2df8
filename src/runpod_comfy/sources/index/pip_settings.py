"""What this machine's pip is told about indexes and the network, and the same told to uv.

uv does not read pip's configuration; behind a company's index it would fail where pip works.
Files and their order are those of pip's "Configuration" page.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import InvalidInputError
from comfy_http.settings import NetworkSettings

PYPI_INDEX_URL = "https://pypi.org/simple"

# What `pip install` reads; a later section overrides an earlier one.
_SECTIONS = ("global", "install")
_TRUE = ("y", "yes", "t", "true", "on", "1")
# Who sets one of these has told uv already where to look.
_UV_INDEX_VARIABLES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)


@dataclass(frozen=True, kw_only=True)
class PipSettings(NetworkSettings):
    """pip's options. `index_url` None means PyPI, `timeout_s` None pip's own default.

    URLs may hold credentials, so they stay out of this object's text.
    """

    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False

    @property
    def index_urls(self) -> tuple[str, ...]:
        """All indexes, the most important first; none with `no_index`.

        A local one that is not there is left out: pip passes over it, uv would fail.
        """
        if self.no_index:
            return ()
        extra = (place for place in self.extra_index_urls if _can_be_there(place))
        return (self.index_url or PYPI_INDEX_URL, *extra)


def read_pip_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """The settings of `pip install` run by this interpreter in `environment`.

    Raises InvalidInputError for a configuration file that pip could not read either.
    """
    values: dict[str, str] = {}
    read = [_read_file(path) for path in _configuration_files(environment)]
    for section in _SECTIONS:
        for sections in read:
            values |= sections.get(section, {})
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            values[_option_name(name.removeprefix("PIP_"))] = value
    return PipSettings(
        index_url=values.get("index-url") or values.get("pypi-url"),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        no_index=values.get("no-index", "").lower() in _TRUE,
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        cert=values.get("cert"),
        client_cert=values.get("client-cert"),
        proxy=values.get("proxy"),
        timeout_s=_seconds(values.get("timeout") or values.get("default-timeout")),
    )


def uv_arguments(settings: PipSettings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Options for `uv pip …` that say what pip is told and hold no secret."""
    if _uv_is_told(environment):
        return []
    arguments = ["--no-index"] if settings.no_index else []
    if len(settings.index_urls) > 1:
        # As pip does: the best version of all indexes, not the first index that has the name.
        arguments += ["--index-strategy", "unsafe-best-match"]
    return arguments


def uv_environment(
    settings: PipSettings, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Variables for `uv`, to be added to `environment`: addresses, since they may hold secrets."""
    added: dict[str, str] = {}
    if not _uv_is_told(environment):
        added |= _index_variables(settings)
    if settings.cert:
        name = "SSL_CERT_DIR" if Path(settings.cert).is_dir() else "SSL_CERT_FILE"
        added[name] = settings.cert
    if settings.client_cert:
        added["SSL_CLIENT_CERT"] = settings.client_cert
    if settings.proxy:
        proxy = settings.proxy if "://" in settings.proxy else f"http://{settings.proxy}"
        added |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}
    if settings.trusted_hosts and "UV_INSECURE_HOST" not in environment:
        added["UV_INSECURE_HOST"] = " ".join(settings.trusted_hosts)
    if settings.timeout_s is not None and "UV_HTTP_TIMEOUT" not in environment:
        added["UV_HTTP_TIMEOUT"] = str(max(1, round(settings.timeout_s)))
    return added


def pip_environment(settings: PipSettings) -> dict[str, str]:
    """The same settings as variables, for a pip that cannot read this person's files."""
    told = {
        "PIP_INDEX_URL": settings.index_url,
        "PIP_EXTRA_INDEX_URL": " ".join(settings.extra_index_urls),
        "PIP_FIND_LINKS": " ".join(settings.find_links),
        "PIP_NO_INDEX": "1" if settings.no_index else None,
        "PIP_TRUSTED_HOST": " ".join(settings.trusted_hosts),
        "PIP_CERT": settings.cert,
        "PIP_CLIENT_CERT": settings.client_cert,
        "PIP_PROXY": settings.proxy,
        "PIP_TIMEOUT": None if settings.timeout_s is None else f"{settings.timeout_s:g}",
    }
    return {name: value for name, value in told.items() if value}


def _index_variables(settings: PipSettings) -> dict[str, str]:
    added: dict[str, str] = {}
    configured = settings.index_url is not None or settings.extra_index_urls
    if configured and not settings.no_index:
        *first, last = settings.index_urls
        # uv takes its default index last; pip's main index must win for equal versions.
        added["UV_DEFAULT_INDEX"] = last
        if first:
            added["UV_INDEX"] = " ".join(first)
    # Unlike pip, uv fails for a folder that is not there.
    find_links = [place for place in settings.find_links if _can_be_there(place)]
    if find_links:
        added["UV_FIND_LINKS"] = ",".join(find_links)
    return added


def _uv_is_told(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in _UV_INDEX_VARIABLES)


def local_path_of(place: str) -> Path | None:
    """The local path that a `file:` URL or a plain path names, None for another URL."""
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return None if "://" in place else Path(place).expanduser()


def _can_be_there(place: str) -> bool:
    path = local_path_of(place)
    return path is None or path.exists()


def _configuration_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files in pip's order: each overrides the ones before it."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environment.get("HOME") or Path.home())
    yield from _global_files(environment)
    if not (named and Path(named).exists()):
        yield home / ".pip" / "pip.conf"
        yield _user_folder(environment, home) / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if named:
        yield Path(named)


def _global_files(environment: Mapping[str, str]) -> list[Path]:
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/pip/pip.conf")]
    folders = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    return [*(Path(folder) / "pip" / "pip.conf" for folder in folders), Path("/etc/pip.conf")]


def _user_folder(environment: Mapping[str, str], home: Path) -> Path:
    if sys.platform == "darwin":
        folder = home / "Library" / "Application Support" / "pip"
        return folder if folder.is_dir() else home / ".config" / "pip"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip"


def _read_file(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"pip's configuration file {path} cannot be read: {str(error).splitlines()[0]}",
            remedy="Correct it; 'pip config debug' lists the files that pip reads.",
        ) from error
    return {
        section: {_option_name(name): value for name, value in parser.items(section) if value}
        for section in parser.sections()
    }


def _option_name(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise InvalidInputError(
            f"pip's option 'timeout' is {text!r}, which is not a number of seconds",
            remedy="Correct it in pip's configuration or in PIP_DEFAULT_TIMEOUT.",
        ) from error
