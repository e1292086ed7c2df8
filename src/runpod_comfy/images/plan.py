"""Lock → the plan of an image: the steps of its build, each with its script, inputs and variables,
and the text of their Dockerfile. Fetches nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.files import digest_of, sha256_of
from comfy_home.platforms import PLATFORMS
from runpod_comfy.images import image_paths
from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.dockerfile import WRAPPER, Step, dockerfile, labels
from runpod_comfy.layers.inputs import manifest_of
from runpod_comfy.layers.plan import (
    ENVIRONMENT,
    Layer,
    Plan,
    TextInput,
    installed_on,
    make_plan,
    requirements_text,
    torch_parts,
)
from runpod_comfy.lock.model import Distribution, Lock
from runpod_comfy.lock.python.torch_family import cuda_on
from runpod_comfy.lock.python.wheels import PlatformFile, handler_packages, platform_files
from runpod_comfy.project import PACKAGE_NAMES, PACKAGES

_USER = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")
_BUILD_SIDE = "runpod_comfy"
# They decode pictures and videos, for which an image has no libraries, and show what differs.
_COMPARISON = ("comfy_workflows/compare", "comfy_workflows/report")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to build: a lock on a base, as steps, and the text of their Dockerfile.

    `handler_sources` are the handler's, by their path below its `site-packages`.
    """

    lock: Lock
    base: BaseImage
    handler_sources: Mapping[str, Path]
    plan: Plan
    steps: tuple[Step, ...]
    user: str
    text: str

    @cached_property
    def files(self) -> list[PlatformFile]:
        """The files of the lock's distributions that fit the platform.

        Raises UnavailableError for a distribution without one.
        """
        return platform_files(self.lock.python, self.plan.platform)

    @property
    def installed_files(self) -> list[PlatformFile]:
        """The files that the steps install, including the handler's packages."""
        handler = handler_packages(self.lock.python.version, self.plan.platform)
        return [*self.files, *platform_files(handler, self.plan.platform)]

    @property
    def check_files(self) -> dict[str, bytes]:
        """The files that the check adds to the image, by their path in the context: the manifest,
        the lock, the bill of materials.
        """
        # Imported late: the library takes a while, and only a build needs it.
        from runpod_comfy.images.context.sbom import sbom_bytes

        inputs = f"{self.steps[-1].folder}/inputs"
        keys = {layer.name: layer.key for layer in self.plan.layers}
        manifest = manifest_of(self.lock, self.plan.platform, layers=keys)
        return {
            f"{inputs}/manifest.json": manifest.model_dump_json(indent=2).encode(),
            f"{inputs}/lock.json": self.lock.to_bytes(),
            f"{inputs}/sbom.cdx.json": sbom_bytes(self.lock, self.plan.platform, self.files),
        }

    @property
    def engine_platform(self) -> str:
        """The platform in Docker's notation."""
        name = PLATFORMS[self.plan.platform].docker
        assert name is not None, "images are only built for platforms of Docker"
        return name


def make_build_plan(lock: Lock, base: BaseImage, *, platform: str) -> BuildPlan:
    """The plan of an image. Raises InvalidInputError for a platform that has no images or is not in
    the lock, for a Python that the handler does not run on, and for a user that is not `uid` or
    `uid:gid`.
    """
    known = PLATFORMS.get(platform)
    if known is None or known.docker is None or platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} has no image for {platform}: it is locked for "
            + ", ".join(lock.python.platforms),
            remedy="Add linux-x86_64 or linux-aarch64 to 'options.platforms' and resolve again.",
        )
    user = _user_of(lock)
    plan = make_plan(lock, platform=platform)
    sources = handler_sources()
    steps = make_steps(
        plan, lock, handler=sources_digest(sources), base_packages=base.packages, user=user
    )
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
            cuda=cuda_on(lock.python, platform),
        ),
    )
    return BuildPlan(
        lock=lock,
        base=base,
        handler_sources=sources,
        plan=plan,
        steps=tuple(steps),
        user=user,
        text=text,
    )


def make_steps(
    plan: Plan,
    lock: Lock,
    *,
    handler: str,
    base_packages: Sequence[str] = (),
    user: str = image_paths.DEFAULT_USER,
) -> list[Step]:
    """The steps of `plan`, in order. The group `torch` is split into several steps.

    `handler` is the digest of the handler's sources, `base_packages` are Debian packages that the
    base lacks, `user` is `uid:gid`.
    """
    steps: list[Step] = []
    for layer in plan.layers:
        if layer.kind == "torch":
            steps += _torch_steps(layer, plan, lock)
        elif layer.kind == "wheels":
            wheels = installed_on(plan.platform, lock.python.wheels, lock.python.version)
            steps.append(_install_step(layer, "wheels", layer.scripts, wheels))
        elif layer.kind == "handler":
            steps.append(_handler_step(layer, plan, lock, handler))
        else:
            steps.append(_step(layer, _variables(layer, base_packages, user)))
    if lock.writable_environment:
        owner = {"ENVIRONMENT_OWNER": user}
        steps = [
            replace(step, variables={**step.variables, **owner})
            if step.layer.kind in (*ENVIRONMENT, "install")
            else step
            for step in steps
        ]
    return steps


def _step(layer: Layer, variables: Mapping[str, str]) -> Step:
    return Step(
        name=layer.name,
        layer=layer,
        scripts=(*layer.scripts, WRAPPER),
        inputs=layer.inputs,
        variables={**layer.environment, **variables},
    )


def _variables(layer: Layer, base_packages: Sequence[str], user: str) -> dict[str, str]:
    if layer.kind == "system":
        packages = [*base_packages, *layer.environment["SYSTEM_PACKAGES"].split()]
        return {"SYSTEM_PACKAGES": " ".join(dict.fromkeys(packages)), "IMAGE_USER": user}
    if layer.kind == "models":
        return {"IMAGE_USER": user}
    if layer.kind in ("core", "node"):
        return {"WRITES": image_paths.HOME}
    if layer.kind == "check":
        return {
            "HANDLER_PYTHON": f"{image_paths.HANDLER}/bin/python",
            "CHECK_REPORT": "/tmp/check-report.json",  # of the build's own container
        }
    return {}


def _torch_steps(layer: Layer, plan: Plan, lock: Lock) -> list[Step]:
    first, *others = torch_parts(lock.python, plan.platform)
    scripts = plan.layer("wheels").scripts
    return [
        _install_step(layer, "torch", layer.scripts, first),
        *(
            _install_step(layer, f"torch-{number}", scripts, part)
            for number, part in enumerate(others, start=2)
        ),
    ]


def _install_step(
    layer: Layer, name: str, scripts: tuple[Path, ...], distributions: Sequence[Distribution]
) -> Step:
    requirements = TextInput(name="requirements.txt", text=requirements_text(distributions))
    settings = [each for each in layer.inputs if each.name != requirements.name]
    return Step(
        name=name,
        layer=layer,
        scripts=(*scripts, WRAPPER),
        inputs=(requirements, *settings),
        variables=dict(layer.environment),
        further=requirements.digest if layer.kind == "torch" else None,
        distributions=tuple(distributions),
    )


def _handler_step(layer: Layer, plan: Plan, lock: Lock, sources: str) -> Step:
    packages = handler_packages(lock.python.version, plan.platform).wheels
    step = _install_step(layer, layer.name, layer.scripts, packages)
    (requirements,) = step.inputs
    return replace(
        step,
        variables={"HANDLER_HOME": image_paths.HANDLER, "WRITES": image_paths.HANDLER},
        further=digest_of(f"{requirements.digest} {sources}".encode()),
    )


def _user_of(lock: Lock) -> str:
    asked = lock.user or image_paths.DEFAULT_USER
    if not _USER.fullmatch(asked):
        raise InvalidInputError(
            f"'options.user' of {lock.version_id} is '{asked}'; an image needs numbers",
            remedy="Write uid:gid, such as 1000:1000.",
        )
    return asked if ":" in asked else f"{asked}:{asked}"


def handler_sources(folder: Path = PACKAGES) -> dict[str, Path]:
    """The handler's sources by their path below `folder`, which also has other packages."""
    return {
        source.relative_to(folder).as_posix(): source
        for package in PACKAGE_NAMES
        if package != _BUILD_SIDE
        for source in sorted((folder / package).rglob("*.py"))
        if not any(source.is_relative_to(folder / part) for part in _COMPARISON)
    }


def sources_digest(sources: Mapping[str, Path]) -> str:
    """A hash over the names and contents of the sources: 64 hex digits."""
    lines = (f"{name} {sha256_of(path)}\n" for name, path in sorted(sources.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
