"""Lock → plan: the steps of an image and the text of their Dockerfile. Fetches nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from comfy_errors import InvalidInputError
from comfy_home.platforms import PLATFORMS
from runpod_comfy.images import image_paths as places
from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.context.handler_pex import handler_digest
from runpod_comfy.images.dockerfile import dockerfile
from runpod_comfy.images.labels import labels
from runpod_comfy.images.steps import Step, make_steps
from runpod_comfy.layers.plan import Plan, make_plan
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.python.torch_family import cuda_on

_USER = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
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
        name = PLATFORMS[self.plan.platform].docker
        assert name is not None, "no image is made for another"
        return name


def make_build_plan(lock: Lock, base: BaseImage, *, platform: str) -> BuildPlan:
    """Raises InvalidInputError for a platform that no image is made for or that the lock has not,
    and for a user that is not `uid` or `uid:gid`."""
    known = PLATFORMS.get(platform)
    if known is None or known.docker is None or platform not in lock.python.platforms:
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
            cuda=cuda_on(lock.python, platform),
            revision=lock.comfy.commit,
            source=lock.comfy.repo,
        ),
    )
    return BuildPlan(lock=lock, base=base, plan=plan, steps=tuple(steps), user=user, text=text)


def _user_of(lock: Lock) -> str:
    asked = lock.user or places.DEFAULT_USER
    if not _USER.fullmatch(asked):
        raise InvalidInputError(
            f"'options.user' of {lock.version_id} is '{asked}'; an image needs numbers",
            remedy="Write uid:gid, such as 1000:1000.",
        )
    return asked if ":" in asked else f"{asked}:{asked}"
