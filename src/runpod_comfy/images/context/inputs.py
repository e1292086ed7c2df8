"""Plan → inputs: everything that its steps need, fetched and made in parallel, and written as the
context of a build: one reproducible tar file.

It is in GNU format with whole seconds: the builder mistakes Python's default format, PAX, for a
Dockerfile.
"""

from __future__ import annotations

import io
import platform
import shlex
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import replace_file
from comfy_files.parallel import in_parallel
from comfy_files.space import size_of
from comfy_home.platforms import PLATFORMS
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FIRST_TIME_S, FetchContext
from runpod_comfy.cache.tree_files import add_file, add_tree
from runpod_comfy.images import image_paths
from runpod_comfy.images.context.packages import Packages, packages_for
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import BuildPlan
from runpod_comfy.layers.inputs import fetch_trees
from runpod_comfy.layers.plan import TreeInput
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_pip_settings, uv_program

_Member = tuple[tarfile.TarInfo, IO[bytes]]


# The runtime mounts its own over both; in a base without them it would create them with the time of
# the build.
_HOSTS = b"127.0.0.1 localhost\n::1 localhost\n"
_CA_BUNDLE = "ca-bundle.pem"
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """The inputs of the steps.

    `trees` are folders by tree hash. `tools` (paths) and `files` (bytes) are put beside the steps,
    by their path in the context. `workflows` are the files of `/app/workflows`, by name, and `user`
    is `uid:gid`.
    """

    trees: Mapping[str, Path]
    tools: Mapping[str, Path]
    files: Mapping[str, bytes]
    workflows: Mapping[str, bytes]
    user: str

    @property
    def size_bytes(self) -> int:
        """The bytes of everything that is copied into the context."""
        held = [*self.files.values(), *self.workflows.values()]
        return (
            sum(map(size_of, self.trees.values()))
            + sum(path.stat().st_size for path in self.tools.values())
            + sum(map(len, held))
        )


def write_context(
    target: IO[bytes], *, dockerfile: str, steps: Sequence[Step], build_inputs: BuildInputs
) -> None:
    """Writes the context of these steps to `target`."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        workflows = _workflows(build_inputs.workflows, build_inputs.user)
        archive.addfile(*_file("Dockerfile", dockerfile.encode()))
        archive.addfile(*_file("frame.tar", _frame(build_inputs.user)))
        archive.addfile(*_file("workflows.tar", workflows))
        for step in steps:
            for script in sorted(step.scripts):
                add_file(archive, script, _member(f"{step.folder}/{script.name}"))
            for each in step.inputs:
                place = f"{step.folder}/inputs/{each.name}"
                if isinstance(each, TreeInput):
                    add_tree(archive, build_inputs.trees[each.digest], prefix=f"{place}/")
                else:
                    archive.addfile(*_file(place, each.text.encode()))
        for name, path in sorted(build_inputs.tools.items()):
            add_file(archive, path, _member(name))
        for name, content in sorted(build_inputs.files.items()):
            archive.addfile(*_file(name, content))


def _frame(user: str) -> bytes:
    """Our own folders in the image, and files that the runtime expects in a base."""
    link = Path(image_paths.MODELS_LINK)
    return _tar(
        [
            *(_folder(name) for name in ("etc", "home", "opt", image_paths.HOME[1:])),
            _folder("tmp", mode=0o1777),
            # Any user may let the link lead elsewhere.
            _folder(str(link.parent)[1:], mode=0o777),
            _link(str(link)[1:], f"{image_paths.HOME}/models"),
            *(_folder(name[1:], user) for name in (image_paths.APP, image_paths.USER_HOME)),
            _file("etc/hosts", _HOSTS),
            _file("etc/resolv.conf", b""),
        ]
    )


def _workflows(files: Mapping[str, bytes], user: str) -> bytes:
    folder = image_paths.WORKFLOWS[1:]
    return _tar(
        [
            _folder(image_paths.APP[1:], user),
            _folder(folder, user),
            *(_file(f"{folder}/{name}", files[name], user) for name in sorted(files)),
        ]
    )


def _tar(members: Iterable[_Member]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            archive.addfile(*member)
    return stream.getvalue()


def _folder(name: str, user: str = "0:0", *, mode: int | None = None) -> _Member:
    member = _member(name, user)
    member.type = tarfile.DIRTYPE
    # Root writes through the group: its engine has no right to override permissions.
    member.mode = mode or (0o755 if user == "0:0" else 0o775)
    return member, io.BytesIO()


def _link(name: str, target: str) -> _Member:
    member = _member(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    member.mode = 0o777
    return member, io.BytesIO()


def _file(name: str, content: bytes, user: str = "0:0") -> _Member:
    member = _member(name, user)
    member.size = len(content)
    return member, io.BytesIO(content)


def _member(name: str, user: str = "0:0") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = FIRST_TIME_S
    member.uid, member.gid = (int(number) for number in user.split(":"))
    return member


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
    return index.keep(fitting[0], cache)[0]
