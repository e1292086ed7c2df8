"""Brings missing models into a models folder, such as that of a volume.

They are written to their own paths there, not into a store: other machines see a volume at another
path, or read it through S3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_errors import ComfyError, InvalidInputError, MismatchError, together
from comfy_errors.names import quantity
from comfy_files.files import disk_errors, nearest_existing
from comfy_files.progress import Progress, Say, readable_size
from comfy_files.space import disk_of
from comfy_files.user_paths import real
from comfy_home.manifest import ManifestModel
from comfy_models.links import make_link
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.store import names_stored
from comfy_models.transfer.fetch import fetch_to
from comfy_models.transfer.place import OTHER_FOLDER
from comfy_models.verify import HashMemory, is_circular
from rp_handler.home.missing_models import Look
from rp_handler.home.model_search import leads_into

_MOVE_AWAY = "Move it away, and run the command again."
_REAL_FOLDER = "Put a real folder there, or choose another models folder."
_REPLACE = "Move it away, or replace it with: models sync --overwrite"


@dataclass(frozen=True, kw_only=True)
class Supply:
    """How missing models come into the models folder `folder`.

    `copies` are files of this machine that are right, by target path. With `overwrite`, another
    file in the place of a model is replaced.

    `volume` is the folder around it that other machines see: a link there does not lead out of it,
    and one that does is replaced. Without a volume, links may lead anywhere.
    """

    folder: Path
    hosts: Hosts
    volume: Path | None = None
    copies: Mapping[str, Path] = field(default_factory=dict)
    overwrite: bool = False

    def bring(
        self, looks: Sequence[Look], memory: HashMemory, *, say: Say, progress: Progress
    ) -> tuple[list[Look], ComfyError | None]:
        """The looks, after those without a path were linked, copied or downloaded, and why some
        could not be. Raises OperationFailedError if the folder cannot be written.
        """
        errors: list[ComfyError] = []
        with disk_errors(f"{self.folder} could not be written", remedy=OTHER_FOLDER):
            free = [it for it in looks if it.path is None and self._is_free(it.model, errors)]
            linked = [look for look in free if self._link(look.model)]
            fetched = [self._fetch(look.model) for look in free if look not in linked]
            if fetched:
                size = readable_size(sum(model.size for model, _ in fetched))
                say(f"Bringing {quantity(len(fetched), 'model')} ({size}) into {self.folder}.")
            try:
                fetch_to(fetched, self.hosts, say=say, progress=progress)
            except ComfyError as error:
                errors.append(error)
            arrived = [(model, path) for model, path in fetched if path.is_file()]
            for model, path in arrived:
                path.replace(self._place(model))
        for model, _ in arrived:
            memory.remember(self._place(model), model.sha256)
        brought = {model.target_path for model, _ in arrived}
        brought |= {look.model.target_path for look in linked}
        after = [self._after(look, brought) for look in looks]
        return after, together(errors) if errors else None

    def _after(self, look: Look, brought: set[str]) -> Look:
        if look.model.target_path not in brought:
            return look
        return Look(model=look.model, path=self._place(look.model), is_new=True)

    def _place(self, model: ManifestModel) -> Path:
        return self.folder / model.target_path

    def _is_free(self, model: ManifestModel, errors: list[ComfyError]) -> bool:
        """True if the model may be written to its place."""
        place = self._place(model)
        leads_out = place.is_symlink() and not self._is_inside(place)
        is_replaced = (self.overwrite or leads_out) and not is_circular(place.parent)
        if is_circular(place) and not is_replaced:
            problem = "is reached through links that lead in a circle, and was left alone"
            errors.append(MismatchError(f"{place} {problem}", remedy=_MOVE_AWAY))
        elif not nearest_existing(place.parent).is_dir():
            problem = f"cannot be written: {nearest_existing(place.parent)} is not a folder"
            errors.append(MismatchError(f"{place} {problem}", remedy=_MOVE_AWAY))
        elif not real(place.parent).is_relative_to(real(self.folder)):
            problem = f"is outside {self.folder}: one of its folders is a link that leads outside"
            errors.append(InvalidInputError(f"{place} {problem}", remedy=_REAL_FOLDER))
        elif place.is_dir() or (place.exists() and not is_replaced):
            problem = "is another file and was left alone"
            remedy = _MOVE_AWAY if place.is_dir() else _REPLACE
            errors.append(MismatchError(f"{place} {problem}", remedy=remedy))
        else:
            return True
        return False

    def _link(self, model: ManifestModel) -> bool:
        """Links the model from a store on the volume; False if it is in none."""
        copy = self.copies.get(model.target_path)
        if copy is None or not names_stored(str(copy)) or not self._is_inside(copy):
            return False
        if disk_of(copy) != disk_of(self.folder):
            return False
        self._place(model).parent.mkdir(parents=True, exist_ok=True)
        make_link(copy, self._place(model))
        return True

    def _is_inside(self, path: Path) -> bool:
        return self.volume is None or leads_into(path, self.volume)

    def _fetch(self, model: ManifestModel) -> tuple[ManifestModel, Path]:
        """The model with all its sources, and where it arrives: a wrong file is only replaced by a
        whole one.
        """
        place, copy = self._place(model), self.copies.get(model.target_path)
        if copy is not None:
            sources = [ModelSource(url=copy.absolute().as_uri()), *model.sources]
            model = model.model_copy(update={"sources": sources})
        return model, place.with_name(f".{place.name}.new") if place.exists() else place


def hosts_here(variables: Mapping[str, str], say: Say, *, timeout_s: float | None = None) -> Hosts:
    """The hosts of models, with the endpoints and tokens in `variables`."""
    # Imported late: models that are present need no network.
    from comfy_http.client import HttpClient
    from comfy_http.settings import NetworkSettings

    client = HttpClient(settings=NetworkSettings(), remedy="Check the network and the proxy.")
    return hosts_for(client, Path.cwd(), variables, timeout_s=timeout_s, say=say)
