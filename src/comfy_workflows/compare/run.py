"""A finished run as it is compared: its outputs, and the circumstances that they were made in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from comfy_errors import InvalidInputError
from comfy_files.json_faults import faults_in_words
from comfy_files.json_model import Reported
from comfy_workflows.compare.output import Output, outputs_of

_RUN_AGAIN = (
    "Run it again with this version of runpod-comfy; rebuild the image, if it was made in one."
)


class Device(Reported):
    """Where a run computed: the name and the type as ComfyUI has them (`NVIDIA L4`, `cuda`), the
    platform (`linux-x86_64`), the version of the GPU's driver, and the processor's name.
    """

    name: str
    type: str
    platform: str
    driver: str | None = None
    processor: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Outputs are expected to be equal on devices with this in common."""
        return self.type, self.name, self.platform

    def in_words(self) -> str:
        return f"{self.name} on {self.platform}"


class Circumstances(Reported):
    """What outputs may depend on, beside the workflow."""

    version_id: str | None
    lock: str | None
    comfyui: str | None
    device: Device

    def changes(self, now: Circumstances) -> list[str]:
        """What differs from `now`, a sentence for each."""
        before, after = self.device, now.device
        pairs = (
            ("The lock", self.lock, now.lock),
            ("ComfyUI", self.comfyui, now.comfyui),
            ("The device", before.name, after.name),
            ("The platform", before.platform, after.platform),
            ("The driver", before.driver, after.driver),
            ("The processor", before.processor, after.processor),
        )
        return [
            f"{what} was {old or 'unknown'}, and is {new or 'unknown'}."
            for what, old, new in pairs
            if old != new
        ]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The outputs of one run of a workflow. `title` names it in sentences: `the run`."""

    title: str
    circumstances: Circumstances
    outputs: Sequence[Output]


def run_of(result: Mapping[str, Any], *, title: str = "the run") -> Run:
    """The run that a result document describes. Raises InvalidInputError for another document."""
    version, device = result.get("version"), result.get("device")
    if not isinstance(version, Mapping) or not isinstance(device, Mapping):
        raise InvalidInputError(
            f"the result of {title} does not say what it was made with", remedy=_RUN_AGAIN
        )
    found = {
        "version_id": version.get("id"),
        "lock": version.get("lock"),
        "comfyui": version.get("comfyui"),
        "device": device,
    }
    try:
        circumstances = Circumstances.model_validate(found)
    except ValidationError as error:
        fault = f"the result of {title} cannot be used: {faults_in_words(error)}"
        raise InvalidInputError(fault, remedy=_RUN_AGAIN) from error
    return Run(title=title, circumstances=circumstances, outputs=outputs_of(result))
