"""The files of a Python distribution, on every index and in every folder that pip would look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.parallel import in_parallel
from comfy_http.redaction import without_secrets
from runpod_comfy.sources.index.pip_settings import PipSettings, local_path_of

if TYPE_CHECKING:
    import requests
    from pypi_simple import DistributionPackage, ProjectPage

    from comfy_http.client import HttpClient

_CHUNK_BYTES = 1024 * 1024
_REMEDY = (
    "Check the network, the proxy and the index that pip is configured to use: pip config list"
)


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """One wheel or sdist. `place` is a URL or a local path; `sha256` is None if not announced."""

    name: str
    version: str
    is_wheel: bool
    place: str = field(repr=False)
    sha256: str | None = None
    yanked: str | None = None


@dataclass(frozen=True, kw_only=True)
class Index:
    """Everything that `settings` lets this machine see, asked in their order."""

    settings: PipSettings

    def files_of(self, distribution: str) -> list[IndexFile]:
        """All wheels and sdists of a distribution, those of more important indexes first.

        Raises UnavailableError if no index knows it, or if one cannot be asked.
        """
        with self._client().session() as session:
            found = self._offered(session, distribution)
        if not found:
            looked = [*self.settings.index_urls, *self.settings.find_links]
            raise UnavailableError(
                f"no index has a distribution '{distribution}' "
                f"(asked: {', '.join(map(without_secrets, looked)) or 'none'})",
                remedy="Check the name, and the indexes that pip is configured to use: "
                "pip config list",
            )
        return found

    def look_up(
        self, distributions: Sequence[str]
    ) -> dict[str, list[IndexFile] | UnavailableError]:
        """The files of many distributions, asked for at once; none for one that no index knows,
        and the error where one could not be asked. A server that is away is not asked again."""
        away: list[UnavailableError] = []
        with self._client().session() as session:

            def look(distribution: str) -> list[IndexFile] | UnavailableError:
                if away:
                    return away[0]
                try:
                    return self._offered(session, distribution)
                except UnavailableError as error:
                    if getattr(error.__cause__, "response", None) is not None:
                        return error
                    away.append(error)
                    return away[0]

            return dict(zip(distributions, in_parallel(look, distributions), strict=True))

    @contextlib.contextmanager
    def open(self, file: IndexFile) -> Iterator[Iterator[bytes]]:
        """The bytes of a file as they arrive. Raises UnavailableError when they do not."""
        path = local_path_of(file.place)
        if path is not None:
            try:
                with path.open("rb") as stream:
                    yield iter(lambda: stream.read(_CHUNK_BYTES), b"")
            except FileNotFoundError as error:
                raise UnavailableError(
                    f"{path} is not there, though an index names it",
                    remedy="Mend the index that pip is configured to use: pip config list",
                ) from error
            return
        with self._client().download(file.place) as chunks:
            yield chunks

    def _offered(self, session: requests.Session, distribution: str) -> list[IndexFile]:
        from packaging.utils import canonicalize_name

        name = canonicalize_name(distribution)
        found: list[IndexFile] = []
        for url in self.settings.index_urls:
            found += self._read_index(session, url, name)
        for place in self.settings.find_links:
            found += self._read_links(session, place, name)
        return found

    def _client(self) -> HttpClient:
        # Loaded late: a distribution that the cache has needs no network.
        from comfy_http.client import HttpClient

        return HttpClient(settings=self.settings, remedy=_REMEDY)

    def _read_index(self, session: requests.Session, url: str, name: str) -> list[IndexFile]:
        page_url = f"{url.rstrip('/')}/{name}/"
        path = local_path_of(page_url)
        if path is not None:
            return self._read_local(path, name)
        return self._read_remote(session, page_url, name)

    def _read_links(self, session: requests.Session, place: str, name: str) -> list[IndexFile]:
        path = local_path_of(place)
        if path is not None:
            return self._read_local(path, name)
        return self._read_remote(session, place, name)

    def _read_local(self, path: Path, name: str) -> list[IndexFile]:
        from pypi_simple import ProjectPage

        page = path / "index.html" if path.is_dir() else path
        if page.is_file():
            base = page.absolute().as_uri()
            return _usable(ProjectPage.from_html(name, page.read_bytes(), base), name)
        if not path.is_dir():
            return []
        return [
            file
            for item in sorted(path.iterdir())
            if (file := _from_name(item.name, str(item.absolute()), name)) is not None
        ]

    def _read_remote(self, session: requests.Session, url: str, name: str) -> list[IndexFile]:
        import requests
        from pypi_simple import ACCEPT_ANY, ProjectPage, UnsupportedContentTypeError

        try:
            response = self._client().get(session, url, headers={"Accept": ACCEPT_ANY})
            if response.status_code in (404, 410):
                return []
            response.raise_for_status()
            page = ProjectPage.from_response(response, name)
        except requests.RequestException as error:
            raise self._client().unreachable(url, error) from error
        except (UnsupportedContentTypeError, ValueError) as error:
            raise UnavailableError(
                f"{without_secrets(url)} is not the page of a package index",
                remedy="Check the index that pip is configured to use: pip config list",
            ) from error
        return [_with_login(file, url) for file in _usable(page, name)]


def _usable(page: ProjectPage, name: str) -> list[IndexFile]:
    files = (_from_package(package, name) for package in page.packages)
    return [file for file in files if file is not None]


def _from_package(package: DistributionPackage, name: str) -> IndexFile | None:
    file = _from_name(package.filename, package.url, name)
    if file is None:
        return None
    yanked = (package.yanked_reason or "no reason given") if package.is_yanked else None
    return replace(file, sha256=package.digests.get("sha256"), yanked=yanked)


def _from_name(file_name: str, place: str, name: str) -> IndexFile | None:
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        canonicalize_name,
        parse_sdist_filename,
        parse_wheel_filename,
    )
    from packaging.version import InvalidVersion

    try:
        if file_name.endswith(".whl"):
            found, version, _, _ = parse_wheel_filename(file_name)
        else:
            found, version = parse_sdist_filename(file_name)
    except (InvalidSdistFilename, InvalidWheelFilename, InvalidVersion):
        return None
    if canonicalize_name(found) != name:
        return None
    return IndexFile(
        name=file_name, version=str(version), is_wheel=file_name.endswith(".whl"), place=place
    )


def _with_login(file: IndexFile, page_url: str) -> IndexFile:
    """pip uses the credentials of an index for the files on the same host."""
    page, place = urlsplit(page_url), urlsplit(file.place)
    login, at, host = page.netloc.rpartition("@")
    if not at or place.netloc != host or place.scheme != page.scheme:
        return file
    return replace(file, place=place._replace(netloc=f"{login}@{host}").geturl())


def check_distribution(repo: str) -> str:
    """The distribution that `pypi://name` names."""
    name = repo.removeprefix("pypi://")
    if not repo.startswith("pypi://") or not name or "/" in name:
        raise InvalidInputError(
            f"{repo} does not name a distribution", remedy="Write 'pypi://' and its name."
        )
    return name
