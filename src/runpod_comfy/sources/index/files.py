"""The files of a Python distribution, in every index and folder that pip would search."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from comfy_errors import ComfyError, UnavailableError
from comfy_files.files import COPY_BYTES
from comfy_files.parallel import in_parallel
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.sources.index.pip_settings import PipSettings, local_path_of

if TYPE_CHECKING:
    import requests
    from pypi_simple import ProjectPage

    from comfy_http.client import HttpClient

_REMEDY = (
    "Check the network, the proxy and the index that pip is configured to use: pip config list"
)


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """One wheel or sdist. `place` is a URL or a local path; `sha256` is None if not announced.

    With `has_metadata`, its metadata is a file of its own, beside it (PEP 658).
    """

    name: str
    version: str
    place: str = field(repr=False)
    sha256: str | None = None
    yanked: str | None = None
    has_metadata: bool = False


@dataclass(frozen=True, kw_only=True)
class Index:
    """All indexes and folders in `settings`, in their order."""

    settings: PipSettings

    def files_of(self, distribution: str) -> list[IndexFile]:
        """All wheels and sdists of a distribution, those of preferred indexes first.

        Raises UnavailableError if no index has it, or if an index cannot be reached.
        """
        with self._client().session() as session:
            found = self._offered(session, distribution)
        if not found:
            raise UnavailableError(
                f"no index has a distribution '{distribution}' "
                f"(asked: {', '.join(map(without_secrets, self.settings.places)) or 'none'})",
                remedy="Check the name, and the indexes that pip is configured to use: pip "
                "config list",
            )
        return found

    def look_up(
        self, distributions: Sequence[str]
    ) -> dict[str, list[IndexFile] | UnavailableError]:
        """The files of many distributions, requested in parallel: an empty list if no index has the
        distribution, the error if one could not be reached. An unreachable server is not tried
        again.
        """
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
        """The bytes of a file as they arrive. Raises UnavailableError if it cannot be read."""
        path = local_path_of(file.place)
        if path is not None:
            try:
                with path.open("rb") as stream:
                    yield iter(lambda: stream.read(COPY_BYTES), b"")
            except FileNotFoundError as error:
                raise UnavailableError(
                    f"{path} does not exist, although an index lists it",
                    remedy="Fix the index that pip is configured to use: pip config list",
                ) from error
            return
        with self._client().download(file.place) as chunks:
            yield chunks

    def keep(
        self, file: IndexFile, cache: Cache, *, expected_sha256: str | None = None
    ) -> tuple[Path, str]:
        """Downloads a file into the cache; returns its path and its sha256. Raises as `open` and
        `keep_archive` do.
        """
        expected = expected_sha256 or file.sha256
        with self.open(file) as chunks:
            return keep_archive(chunks, cache, where=file.name, expected_sha256=expected)

    def addresses_in_metadata(self, wheel: IndexFile) -> list[str]:
        """The project's addresses in a wheel's metadata: its home page, its repository and others.

        Nothing is built or downloaded whole for them. Empty if there are none, or if the index has
        neither metadata files (PEP 658) nor PyPI's JSON pages.
        """
        path = local_path_of(wheel.place)
        try:
            if path is not None:
                return _addresses(parse_email(_metadata_in(path))[0])
            if wheel.has_metadata:
                name, place = f"{wheel.name}.metadata", f"{wheel.place}.metadata"
                with self.open(replace(wheel, name=name, place=place)) as chunks:
                    return _addresses(parse_email(b"".join(chunks))[0])
        except (ComfyError, OSError, KeyError, zipfile.BadZipFile):
            # An index may promise what it does not have.
            return []
        return self._addresses_in_json(wheel)

    def _addresses_in_json(self, wheel: IndexFile) -> list[str]:
        name = parse_wheel_filename(wheel.name)[0]
        roots = [url.rstrip("/") for url in self.settings.index_urls]
        found: list[str] = []
        with self._client().session() as session:
            for root in roots:
                if not root.endswith("/simple") or local_path_of(root) is not None:
                    continue
                url = f"{root.removesuffix('simple')}pypi/{name}/json"
                # Few indexes have these pages, and any may answer anything.
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    found += _addresses(self._client().send(session, "GET", url).json()["info"])
        return found

    def _offered(self, session: requests.Session, distribution: str) -> list[IndexFile]:
        name = canonicalize_name(distribution)
        pages = [f"{url.rstrip('/')}/{name}/" for url in self.settings.index_urls]
        found: list[IndexFile] = []
        for place in (*pages, *self.settings.find_links):
            path = local_path_of(place)
            if path is not None:
                found += _read_local(path, name)
            else:
                found += self._read_remote(session, place, name)
        return found

    def _client(self) -> HttpClient:
        # Imported late: a cached distribution needs no network.
        from comfy_http.client import HttpClient

        return HttpClient(settings=self.settings, remedy=_REMEDY)

    def _read_remote(self, session: requests.Session, url: str, name: str) -> list[IndexFile]:
        import requests
        from pypi_simple import ACCEPT_ANY, ProjectPage, UnsupportedContentTypeError

        try:
            response = self._client().send(session, "GET", url, headers={"Accept": ACCEPT_ANY})
            if response.status_code in (404, 410):
                return []
            response.raise_for_status()
            page = ProjectPage.from_response(response, name)
        except requests.RequestException as error:
            raise self._client().unreachable(url, error) from error
        except (UnsupportedContentTypeError, ValueError) as error:
            raise UnavailableError(
                f"{without_secrets(url)} is not a package index page",
                remedy="Check the index that pip is configured to use: pip config list",
            ) from error
        return [_with_login(file, url) for file in _on_page(page, name)]


def _metadata_in(wheel: Path) -> bytes:
    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{name}-{version}.dist-info/METADATA")


def _addresses(metadata: RawMetadata) -> list[str]:
    found = [metadata.get("home_page"), *(metadata.get("project_urls") or {}).values()]
    return [each for each in found if each]


def _read_local(path: Path, name: str) -> list[IndexFile]:
    from pypi_simple import ProjectPage

    page = path / "index.html" if path.is_dir() else path
    if page.is_file():
        base = page.absolute().as_uri()
        return _on_page(ProjectPage.from_html(name, page.read_bytes(), base), name)
    if not path.is_dir():
        return []
    return [
        file
        for item in sorted(path.iterdir())
        for file in _file(item.name, str(item.absolute()), name)
    ]


def _on_page(page: ProjectPage, name: str) -> list[IndexFile]:
    return [
        replace(
            file,
            sha256=package.digests.get("sha256"),
            yanked=(package.yanked_reason or "no reason given") if package.is_yanked else None,
            has_metadata=bool(package.has_metadata),
        )
        for package in page.packages
        for file in _file(package.filename, package.url, name)
    ]


def _file(file_name: str, place: str, name: str) -> Iterator[IndexFile]:
    """The file, if it belongs to the distribution `name`."""
    try:
        if file_name.endswith(".whl"):
            found, version, _, _ = parse_wheel_filename(file_name)
        else:
            found, version = parse_sdist_filename(file_name)
    except ValueError:
        # The page may list anything.
        return
    if found == name:
        yield IndexFile(name=file_name, version=str(version), place=place)


def _with_login(file: IndexFile, page_url: str) -> IndexFile:
    """pip uses an index's credentials for files on the same host."""
    page, place = urlsplit(page_url), urlsplit(file.place)
    login, at, host = page.netloc.rpartition("@")
    if not at or place.netloc != host or place.scheme != page.scheme:
        return file
    return replace(file, place=place._replace(netloc=f"{login}@{host}").geturl())
