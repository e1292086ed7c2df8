"""How this machine's pip reaches indexes and the network, and how to make uv do the same.

uv does not read pip's configuration; behind a company's index it would fail where pip works. The
files and their order follow pip's "Configuration" page. What scripts get is in variables: an index
URL may hold a password, and every user on the machine can read arguments.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from comfy_http.settings import NetworkSettings

if TYPE_CHECKING:
    from comfy_http.client import HttpClient

PYPI_INDEX_URL = "https://pypi.org/simple"

# The sections that `pip install` reads; a later one overrides an earlier one.
_SECTIONS = ("global", "install")
_TRUE = ("y", "yes", "t", "true", "on", "1")
# If one of these is set, uv already knows where to look.
_UV_INDEX_VARIABLES = (
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)
_ANOTHERS = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "UV_COMPILE_BYTECODE", "__PYVENV_LAUNCHER__")


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
        """All indexes, the preferred one first; none with `no_index`.

        A missing local index is left out: pip ignores it, uv would fail.
        """
        if self.no_index:
            return ()
        extra = (place for place in self.extra_index_urls if _can_be_there(place))
        return (self.index_url or PYPI_INDEX_URL, *extra)

    @property
    def places(self) -> tuple[str, ...]:
        """All indexes and all `find_links`."""
        return (*self.index_urls, *self.find_links)

    def only(self, places: Collection[str]) -> PipSettings:
        """The settings, with only the indexes and folders in `places`."""
        urls = [url for url in self.index_urls if url in places]
        return replace(
            self,
            index_url=urls[0] if urls else None,
            extra_index_urls=tuple(urls[1:]),
            no_index=not urls,
            find_links=tuple(place for place in self.find_links if place in places),
        )

    def with_first(self, index: str | None) -> PipSettings:
        """The settings with `index`, if given, before the others; unchanged with `no_index`."""
        if index is None or self.no_index:
            return self
        return replace(self, index_url=index, extra_index_urls=self.index_urls)


def read_pip_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """The settings of `pip install`, run by this interpreter in `environment`.

    Raises InvalidInputError for a configuration file that pip could not read either.
    """
    values = _options_in_files(environment)
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


def read_index_settings(environment: Mapping[str, str] = os.environ) -> PipSettings:
    """pip's settings, with indexes and folders replaced by those in uv's variables.

    A named index, `name=https://…`, gets the login of `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`.
    Raises as `read_pip_settings` does.
    """
    settings = read_pip_settings(environment)
    main = _words(environment, "UV_DEFAULT_INDEX") or _words(environment, "UV_INDEX_URL")
    extra = [*_words(environment, "UV_INDEX"), *_words(environment, "UV_EXTRA_INDEX_URL")]
    links = [place for place in environment.get("UV_FIND_LINKS", "").split(",") if place]
    if not (main or extra or links):
        return settings
    return replace(
        settings,
        index_url=_address(main[0], environment) if main else None,
        extra_index_urls=tuple(_address(index, environment) for index in extra),
        find_links=tuple(links),
        no_index=False,
    )


def _words(environment: Mapping[str, str], name: str) -> list[str]:
    return environment.get(name, "").split()


def _address(index: str, environment: Mapping[str, str]) -> str:
    name, equals, url = index.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        return index
    variable = f"UV_INDEX_{re.sub('[^A-Z0-9]', '_', name.upper())}"
    login = [environment.get(f"{variable}_{part}") for part in ("USERNAME", "PASSWORD")]
    if not any(login):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user, password = (quote(part or "", safe="") for part in login)
    return parts._replace(netloc=f"{user}:{password}@{host}").geturl()


def web_client(*, remedy: str) -> HttpClient:
    """A client for servers other than indexes, without pip's client certificate, which is for
    indexes.
    """
    # Imported late: cached files need no network.
    from comfy_http.client import HttpClient

    return HttpClient(settings=replace(read_pip_settings(), client_cert=None), remedy=remedy)


def uv_arguments(settings: PipSettings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Options for `uv pip …` that match pip's configuration and hold no secret."""
    if _uv_has_indexes(environment):
        return []
    arguments = ["--no-index"] if settings.no_index else []
    if len(settings.index_urls) > 1:
        # Like pip: the best version on all indexes, not the first index that has the name.
        arguments += ["--index-strategy", "unsafe-best-match"]
    return arguments


def uv_environment(
    settings: PipSettings, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Variables for `uv`, to be added to `environment`: URLs, which may hold secrets."""
    proxy = settings.proxy
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    is_folder = settings.cert is not None and Path(settings.cert).is_dir()
    added = {
        "SSL_CERT_DIR" if is_folder else "SSL_CERT_FILE": settings.cert,
        "SSL_CLIENT_CERT": settings.client_cert,
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy),
    }
    if not _uv_has_indexes(environment):
        # Unlike pip, uv fails for a missing folder.
        added["UV_FIND_LINKS"] = ",".join(filter(_can_be_there, settings.find_links))
        configured = settings.index_url is not None or settings.extra_index_urls
        if configured and not settings.no_index:
            # uv uses its default index last; pip's main index must win for equal versions.
            *first, added["UV_DEFAULT_INDEX"] = settings.index_urls
            added["UV_INDEX"] = " ".join(first)
    if "UV_INSECURE_HOST" not in environment:
        added["UV_INSECURE_HOST"] = " ".join(settings.trusted_hosts)
    if settings.timeout_s is not None and "UV_HTTP_TIMEOUT" not in environment:
        added["UV_HTTP_TIMEOUT"] = str(max(1, round(settings.timeout_s)))
    return _only_set(added)


def uv_indexes(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The indexes for uv's own configuration, in its order: the last one is its default.

    Raises as `read_pip_settings` does.
    """
    urls = read_index_settings(environment).index_urls
    # In uv's variables the default index is the last resort.
    return (*urls[1:], *urls[:1]) if _uv_has_indexes(environment) else urls


def _pip_environment(settings: PipSettings) -> dict[str, str]:
    """pip's settings as variables, for a pip that cannot read this user's files."""
    variables = {
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
    return _only_set(variables)


def _only_set(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}


def _uv_has_indexes(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in _UV_INDEX_VARIABLES)


def local_path_of(place: str) -> Path | None:
    """The local path of a `file:` URL or a plain path, None for any other URL."""
    if place.startswith("file:"):
        return Path(unquote(urlsplit(place).path))
    return None if "://" in place else expanded(place)


def _can_be_there(place: str) -> bool:
    path = local_path_of(place)
    return path is None or path.exists()


def _options_in_files(environment: Mapping[str, str]) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.optionxform = _option_name  # type: ignore[assignment, method-assign]
    for path in _configuration_files(environment):
        try:
            parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (configparser.Error, UnicodeDecodeError) as error:
            raise InvalidInputError(
                f"pip's configuration file {path} cannot be read: {str(error).splitlines()[0]}",
                remedy="Correct it; 'pip config debug' lists the files that pip reads.",
            ) from error
    sections = [parser.items(section) for section in _SECTIONS if section in parser]
    return {name: value for section in sections for name, value in section if value}


def _configuration_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files in pip's order: each overrides the ones before it."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111
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


def uv_program() -> Path:
    """The uv that is installed with this program."""
    from uv import find_uv_bin

    return Path(find_uv_bin())


def outside_variables() -> dict[str, str]:
    """This process's variables, without those that would misconfigure another Python or uv."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PEX")) and name not in _ANOTHERS
    }


def uv_variables(
    pip: PipSettings,
    environment: Mapping[str, str],
    *,
    wheels_dir: Path | None = None,
    first_index: str | None = None,
    stored: Sequence[str] = (),
) -> dict[str, str]:
    """Where packages come from, to be added to `environment`: pip's configured sources.

    `wheels_dir` replaces all indexes; otherwise `stored` (indexes on this disk) and `first_index`
    come before them. `NO_INDEX` is `1` if the layer scripts have to pass `--no-index` to uv, which
    has no variable for it.
    """
    variables = uv_environment(pip, environment)
    if wheels_dir is not None:
        # As a URL: commas separate the entries of this list.
        return {**variables, "UV_FIND_LINKS": wheels_dir.absolute().as_uri(), "NO_INDEX": "1"}
    arguments = uv_arguments(pip, environment)
    no_index = "--no-index" in arguments
    first = [*stored, *([first_index] if first_index else [])]
    if no_index:
        variables["NO_INDEX"] = "1"
    if first and not no_index:
        others = variables.get("UV_INDEX") or environment.get("UV_INDEX", "")
        variables["UV_INDEX"] = " ".join([*first, others]).strip()
    elif stored:
        # With --no-index only folders are used.
        others = variables.get("UV_FIND_LINKS") or environment.get("UV_FIND_LINKS", "")
        variables["UV_FIND_LINKS"] = ",".join([*stored, others]).strip(",")
    if "--index-strategy" in arguments or first_index:
        # Hashes decide what is installed, so any index with the file is fine.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def install_script_variables(
    pip: PipSettings, environment: Mapping[str, str], *, wheels_dir: Path | None = None
) -> dict[str, str]:
    """Where packages come from, for the pip and the uv that a node's install.py calls."""
    variables = {**_pip_environment(pip), **uv_environment(pip, environment)}
    if wheels_dir is None:
        return variables
    place = wheels_dir.absolute().as_uri()
    return {**variables, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": place, "UV_FIND_LINKS": place}
