"""The files of a distribution as the lock lists them: independent of mirrors, and kept."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_files.parallel import in_parallel
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from runpod_comfy.lock.python.fit import fits_platform, fits_python, platforms_of
from runpod_comfy.lock.python.uv_compile import Compiled
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.sources.index.pip_settings import local_path_of, read_pip_settings

_TIMEOUT_S = 30.0

_Files = dict[tuple[str, str], list[DistributionFile]]


def locked_files(
    compiled: Sequence[Compiled], request: CompileRequest, previous: PythonLock | None
) -> _Files:
    """The files of every release, by name and version, each list sorted by file name.

    A release in `previous` for the same Python and platforms keeps its files: late uploads change
    nothing.
    """
    known = _known(request, previous)
    found = {
        key: {
            place: file
            for place, file in item.files.items()
            if fits_python(file.name, request.python)
        }
        for item in compiled
        if (key := (item.name, item.version)) not in known
    }
    untold = [
        place for files in found.values() for place, file in files.items() if file.size is None
    ]
    sizes = _sizes(untold, offline=request.offline)
    for key, files in found.items():
        by_hash = {
            file.sha256: file.model_copy(update={"size": sizes.get(place, file.size)})
            for place, file in files.items()
        }
        known[key] = sorted(by_hash.values(), key=lambda file: file.name)
    return known


def source_warning(distribution: Distribution, request: CompileRequest) -> str | None:
    """A warning about a distribution without a wheel for some platform, or None."""
    wheels = [file.name for file in distribution.files if file.name.endswith(".whl")]
    without = [
        platform
        for platform in platforms_of(
            distribution.marker, python=request.python, platforms=request.platforms
        )
        if not any(fits_platform(wheel, platform) for wheel in wheels)
    ]
    if not without:
        return None
    return (
        f"{distribution.name} {distribution.version} has no wheel for {' and '.join(without)}: "
        "it is built from source there, which may need a compiler and network access and is not "
        "reproducible"
    )


def _known(request: CompileRequest, previous: PythonLock | None) -> _Files:
    if (
        previous is None
        or (previous.version, previous.platforms) != (request.python, request.platforms)
        # It may have files that were uploaded after that day.
        or request.as_of not in (None, previous.as_of)
    ):
        return {}
    # Another index may have other files for the same version of torch.
    torch = previous.torch if previous.torch_index == request.torch_index else []
    return {(item.name, item.version): item.files for item in (*previous.wheels, *torch)}


def _sizes(untold: Sequence[str], *, offline: bool) -> dict[str, int]:
    """The sizes, in bytes, of files whose index does not state them.

    Some indexes state sizes and others do not; a lock must not depend on which one was used.
    """
    paths = {place: local_path_of(place) for place in untold}
    remote = [place for place, path in paths.items() if path is None]
    local = {place: path.stat().st_size for place, path in paths.items() if path and path.is_file()}
    return local if offline or not remote else local | _announced_sizes(remote)


def _announced_sizes(urls: Sequence[str]) -> dict[str, int]:
    # Imported late: most indexes state sizes, so this is rarely needed.
    import requests

    from comfy_http.client import HttpClient

    settings = read_pip_settings()
    with HttpClient(settings=settings, remedy="").session() as session:

        def ask(url: str) -> int | None:
            try:
                answer = session.head(
                    url,
                    allow_redirects=True,
                    timeout=settings.timeout_s or _TIMEOUT_S,
                    # Uncompressed: with transfer compression the length would differ.
                    headers={"Accept-Encoding": "identity"},
                    verify=settings.cert,
                )
                answer.raise_for_status()
                return int(answer.headers["Content-Length"])
            except (requests.RequestException, KeyError, ValueError):
                # The size is only for progress; the hash decides.
                return None

        sizes = zip(urls, in_parallel(ask, urls), strict=True)
        return {url: size for url, size in sizes if size is not None}
