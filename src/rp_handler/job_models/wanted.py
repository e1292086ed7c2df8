"""The models that a job asks for, each under names of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError
from comfy_models.sources.source import HostFile
from rp_handler.inputs.faults import for_all
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.kept import HeldModel
from rp_handler.job_models.names import Name, names_of


@dataclass(kw_only=True)
class Wanted:
    """A model of a job on its way: `place` is where it stands in the input, `names` are those under
    which the engine finds it.

    `sha256` is the stated one, or what its host states in `told`; None if neither is known. `here`
    is the same file among the models that the worker has anyway, `held` is one that was fetched.
    """

    place: str
    model: JobModel
    names: Sequence[Name] = ()
    sha256: str | None = None
    told: HostFile = field(default_factory=HostFile)
    here: Path | None = None
    held: HeldModel | None = None

    @property
    def is_missing(self) -> bool:
        return self.here is None and self.held is None


def source_of(one: Wanted) -> str:
    """`models[2].source`"""
    return f"{one.place}.source"


def target_of(one: Wanted) -> str:
    return f"{one.place}.target_path"


def wanted_models(
    models: Sequence[JobModel], directories: Mapping[str, Sequence[str]]
) -> list[Wanted]:
    """Each of `models` once, for an engine with these directories.

    Raises InvalidInputError for a path where the engine does not look, and if two files have one
    name, or one has the name of another's folder.
    """
    wanted = [
        Wanted(place=f"models[{number}]", model=model, sha256=model.sha256)
        for number, model in enumerate(models)
    ]
    names = for_all(
        lambda one: names_of(one.model.target_path, directories),
        wanted,
        field_of=target_of,
        kind="models",
    )
    found: dict[JobModel, Wanted] = {}
    by_name: dict[Name, Wanted] = {}
    for one, its_names in zip(wanted, names, strict=True):
        one.names = its_names
        first = found.setdefault(one.model, one)
        for name in its_names:
            if (other := by_name.setdefault(name, first)) is not first:
                raise _clash(one, other)
    for (folder, inner), one in by_name.items():
        for above in PurePosixPath(inner).parents:
            if (above_it := by_name.get((folder, above.as_posix()))) is not None:
                raise _clash(one, above_it)
    return list(found.values())


def _clash(one: Wanted, other: Wanted) -> InvalidInputError:
    return InvalidInputError(
        f"The job's input cannot be used: {target_of(one)} and {target_of(other)} have one name "
        "in ComfyUI, or one is the folder of the other.",
        remedy="Give each model a name of its own.",
    )
