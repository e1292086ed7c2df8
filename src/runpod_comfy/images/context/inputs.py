"""Plan → inputs: everything that its steps need, fetched and made in parallel."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.parallel import in_parallel
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images import image_paths
from runpod_comfy.images.context.archive import BuildInputs
from runpod_comfy.images.context.installer import image_installer
from runpod_comfy.images.context.packages import Packages, packages_for
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import BuildPlan
from runpod_comfy.layers.inputs import fetch_trees

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
