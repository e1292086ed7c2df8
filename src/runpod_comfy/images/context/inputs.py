"""Plan → inputs: everything that its steps need, fetched and made in parallel."""

from __future__ import annotations

import platform
import shlex
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import replace_file
from comfy_files.parallel import in_parallel
from comfy_home.platforms import PLATFORMS
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images import image_paths
from runpod_comfy.images.context.archive import BuildInputs
from runpod_comfy.images.context.packages import Packages, packages_for
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import BuildPlan
from runpod_comfy.layers.inputs import fetch_trees
from runpod_comfy.layers.uv import uv_program
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_CA_BUNDLE = "ca-bundle.pem"
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")


def gather_inputs(
    build_plan: BuildPlan,
    fetch_context: FetchContext,
    *,
    workflows: Sequence[Path],
    ca_bundle: Path | None = None,
    has_network: bool = True,
) -> BuildInputs:
    """The inputs of the steps of `build_plan`.

    `ca_bundle` is a file of certificates that steps with network access trust; `has_network` says
    whether there are such steps. Raises what the sources and the package indexes raise, and
    InvalidInputError for a local file that cannot be read.
    """
    certificates = _read(ca_bundle) if ca_bundle is not None else None
    graphs = {path.name: _read(path) for path in workflows}
    trees: dict[str, Path] = {}
    packages: list[Packages] = []
    platform = build_plan.plan.platform
    handler = next(step for step in build_plan.steps if step.layer.kind == "handler")
    tools = {
        f"{handler.folder}/inputs/sources/{name}": path
        for name, path in build_plan.handler_sources.items()
    }
    parts = [
        lambda: trees.update(fetch_trees(build_plan.plan.layers, build_plan.lock, fetch_context)),
        lambda: tools.update({"tools/uv": image_installer(platform, fetch_context.cache)}),
        lambda: packages.append(
            packages_for(
                build_plan.lock.python,
                build_plan.installed_files,
                fetch_context,
                has_network=has_network,
            )
        ),
    ]
    in_parallel(lambda part: part(), parts, give_up=True)
    files = build_plan.check_files
    for step in build_plan.steps:
        if not step.has_network:
            continue
        variables = dict(packages[0].variables.get(step.layer.kind, {}))
        if step.installs:
            wheels = _wheels(step, packages[0])
            tools |= wheels
            if wheels:
                links = [variables.get("UV_FIND_LINKS"), f"{image_paths.STEP}/wheels"]
                variables["UV_FIND_LINKS"] = ",".join(filter(None, links))
        if not has_network:
            variables["OFFLINE"] = "1"
        if certificates is not None:
            files[f"{step.folder}/{_CA_BUNDLE}"] = certificates
            variables |= dict.fromkeys(_TRUST, f"{image_paths.STEP}/{_CA_BUNDLE}")
        if variables:
            lines = (f"{name}={shlex.quote(text)}\n" for name, text in sorted(variables.items()))
            files[f"{step.folder}/installer.env"] = "".join(lines).encode()
    return BuildInputs(
        trees=trees, tools=tools, files=files, workflows=graphs, user=build_plan.user
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", remedy="Check the file and its permissions."
        ) from error


def _wheels(step: Step, packages: Packages) -> dict[str, Path]:
    """The files that are copied for a step, by their path in the context."""
    files = (file for distribution in step.distributions for file in distribution.files)
    copied = (packages.copied[each.sha256] for each in files if each.sha256 in packages.copied)
    return {f"{step.folder}/wheels/{name}": path for name, path in copied}


def image_installer(image_platform: str, cache: Cache) -> Path:
    """The uv program for `linux-x86_64` or `linux-aarch64`, in this project's version.

    Raises UnavailableError if it is neither cached nor on an index.
    """
    machine = PLATFORMS[image_platform].machine
    if sys.platform == "linux" and platform.machine() == machine:
        return uv_program()
    wanted = version("uv")
    place = cache.tools / f"uv-{wanted}-{image_platform}"
    if not place.is_file():
        wheel = _wheel(wanted, machine, cache)
        with cache.writing(), zipfile.ZipFile(wheel) as archive:
            replace_file(place, archive.read(f"uv-{wanted}.data/scripts/uv"), mode=0o755)
    return place


def _wheel(wanted: str, machine: str, cache: Cache) -> Path:
    index = Index(settings=read_pip_settings())
    fitting = [
        file
        for file in index.files_of("uv")
        if file.name.startswith(f"uv-{wanted}-")
        and "manylinux" in file.name
        and machine in file.name
    ]
    if not fitting or fitting[0].sha256 is None:
        raise UnavailableError(
            f"no index has a wheel of uv {wanted} for Linux on {machine}",
            remedy="Check the indexes that pip is configured to use: pip config list",
        )
    if found := find_archive(fitting[0].sha256, cache):
        return found
    with index.open(fitting[0]) as chunks:
        return keep_archive(
            chunks, cache, where=fitting[0].name, expected_sha256=fitting[0].sha256
        )[0]
