"""Lock → recipe: the Dockerfile and all that its steps are given. No engine is needed for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from comfy_errors import InvalidInputError
from comfy_manifest.model import Manifest, ManifestModel
from runpod_comfy.images import places
from runpod_comfy.images.bases import BaseImage
from runpod_comfy.images.context import Material, write_context
from runpod_comfy.images.dockerfile import dockerfile
from runpod_comfy.images.handler_pex import handler_digest, handler_pex
from runpod_comfy.images.installer import image_installer
from runpod_comfy.images.labels import labels
from runpod_comfy.images.packages import Packages, packages_for
from runpod_comfy.images.sbom import sbom_bytes
from runpod_comfy.images.steps import Step, make_steps
from runpod_comfy.layers.layer import TreeInput
from runpod_comfy.layers.plan import Plan, make_plan
from runpod_comfy.lock.fetch import fetch_tree
from runpod_comfy.lock.install_scripts import require_install_scripts
from runpod_comfy.lock.model import Lock
from runpod_comfy.sources.at_once import at_once
from runpod_comfy.sources.tree import Surroundings

_ENGINE_PLATFORMS = {"linux-x86_64": "linux/amd64", "linux-aarch64": "linux/arm64"}
_CA_BUNDLE = "ca-bundle.pem"
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_USER = re.compile(r"\d+(:\d+)?")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is built: a lock on a base, as steps, and the text of their Dockerfile."""

    lock: Lock
    base: BaseImage
    plan: Plan
    steps: tuple[Step, ...]
    user: str
    text: str

    @property
    def engine_platform(self) -> str:
        """The platform as Docker writes it."""
        return _ENGINE_PLATFORMS[self.plan.platform]


def make_recipe(lock: Lock, base: BaseImage, *, platform: str) -> Recipe:
    """Raises InvalidInputError for a platform that no image is made for or that the lock has not,
    and for a user that is not `uid` or `uid:gid`."""
    if platform not in _ENGINE_PLATFORMS or platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} has no image for {platform}: it is locked for "
            + ", ".join(lock.python.platforms),
            remedy="Add linux-x86_64 or linux-aarch64 to 'options.platforms' and resolve again.",
        )
    user = _user_of(lock)
    plan = make_plan(lock, platform=platform)
    steps = make_steps(plan, lock, handler=handler_digest(), base_packages=base.packages, user=user)
    text = dockerfile(
        steps,
        base=base.reference,
        python=lock.python.version,
        user=user,
        version_id=lock.version_id,
        labels=labels(
            lock,
            [(step.name, step.key) for step in steps],
            base_name=base.image,
            base_digest=base.digest,
            revision=lock.comfy.commit,
            source=lock.comfy.repo,
        ),
    )
    return Recipe(lock=lock, base=base, plan=plan, steps=tuple(steps), user=user, text=text)


def write_recipe(
    recipe: Recipe,
    target: IO[bytes],
    surroundings: Surroundings,
    *,
    workflows: Sequence[Path],
    ca_bundle: Path | None = None,
) -> None:
    """Fetches what the steps need and writes the context of the build to `target`.

    `ca_bundle` is a file of certificates that steps with a network trust.
    Raises what the sources, the package indexes and the build of the handler raise.
    """
    trees: dict[str, Path] = {}
    made: dict[str, Path] = {}
    packages: list[Packages] = []
    platform = recipe.plan.platform
    parts = [
        lambda: trees.update(_trees(recipe, surroundings)),
        lambda: made.update(pex=handler_pex(platform, surroundings.cache, surroundings.say)),
        lambda: made.update(uv=image_installer(platform, surroundings.cache)),
        lambda: packages.append(packages_for(recipe.lock, platform, surroundings)),
    ]
    at_once(lambda part: part(), parts, give_up=True)
    handler = next(step for step in recipe.steps if step.layer.kind == "handler")
    tools = {f"{handler.folder}/inputs/handler.pex": made["pex"], "tools/uv": made["uv"]}
    files = _check_files(recipe)
    for step in recipe.steps:
        variables, wheels = _installer_settings(step, packages[0])
        tools |= wheels
        if ca_bundle is not None and step.has_network:
            tools[f"{step.folder}/{_CA_BUNDLE}"] = ca_bundle
            variables |= dict.fromkeys(_TRUST, f"{places.STEP}/{_CA_BUNDLE}")
        if variables:
            files[f"{step.folder}/installer.env"] = _shell_text(variables).encode()
    material = Material(
        trees=trees, tools=tools, files=files, workflows=workflows, user=recipe.user
    )
    write_context(target, dockerfile=recipe.text, steps=recipe.steps, material=material)


def _user_of(lock: Lock) -> str:
    asked = lock.user or places.DEFAULT_USER
    if not _USER.fullmatch(asked):
        raise InvalidInputError(
            f"'options.user' of {lock.version_id} is '{asked}'; an image needs numbers",
            remedy="Write uid:gid, such as 1000:1000.",
        )
    return asked if ":" in asked else f"{asked}:{asked}"


def _trees(recipe: Recipe, surroundings: Surroundings) -> dict[str, Path]:
    wanted = [
        (step.name, each.tree)
        for step in recipe.steps
        for each in step.inputs
        if isinstance(each, TreeInput)
    ]
    folders = at_once(lambda item: fetch_tree(*item, surroundings), wanted, give_up=True)
    trees = {tree.tree_hash: folder for (_, tree), folder in zip(wanted, folders, strict=True)}
    listed = set(recipe.lock.run_install_scripts)
    require_install_scripts(
        {
            node.name: trees[node.tree_hash]
            for node in recipe.lock.custom_nodes
            if node.name in listed
        }
    )
    return trees


def _installer_settings(step: Step, packages: Packages) -> tuple[dict[str, str], dict[str, Path]]:
    """What the installer of a step is told, and the files that are handed in to it, by place."""
    if not step.installs:
        return {}, {}
    wheels = {
        f"{step.folder}/wheels/{name}": path
        for distribution in step.distributions
        for file in distribution.files
        if file.sha256 in packages.handed_in
        for name, path in [packages.handed_in[file.sha256]]
    }
    told = packages.torch_variables if step.layer.kind == "torch" else packages.variables
    variables = dict(told)
    if wheels:
        links = [variables.get("UV_FIND_LINKS"), f"{places.STEP}/wheels"]
        variables["UV_FIND_LINKS"] = ",".join(filter(None, links))
    return variables, wheels


def _shell_text(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def _check_files(recipe: Recipe) -> dict[str, bytes]:
    check = next(step for step in recipe.steps if step.layer.kind == "check")
    inputs = f"{check.folder}/inputs"
    return {
        f"{inputs}/manifest.json": _manifest(recipe).model_dump_json(indent=2).encode(),
        f"{inputs}/lock.json": recipe.lock.to_bytes(),
        f"{inputs}/sbom.cdx.json": sbom_bytes(recipe.lock, recipe.plan.platform),
    }


def _manifest(recipe: Recipe) -> Manifest:
    lock = recipe.lock
    return Manifest(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        layers={layer.name: layer.key for layer in recipe.plan.layers},
        models=[
            ManifestModel(target_path=model.target_path, sha256=model.sha256, size=model.size)
            for model in lock.models
        ],
        env=lock.env,
        comfy_args=lock.comfy_args,
    )
