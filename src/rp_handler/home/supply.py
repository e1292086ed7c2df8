"""Brings missing models into a models folder, such as that of a volume.

They are written to their own paths there, not into a store: other machines see a volume at another
path, or read it through S3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_errors import ComfyError, Faults
from comfy_errors.names import quantity
from comfy_files.files import disk_errors
from comfy_files.progress import Progress, Say, readable_size
from comfy_files.space import disk_of
from comfy_home.manifest import ManifestModel
from comfy_models.links import make_link, needs_link
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.store import names_stored
from comfy_models.transfer.fetch import fetch_to
from comfy_models.transfer.place import OTHER_FOLDER
from comfy_models.verify import HashMemory, is_circular
from rp_handler.home.found_models import Look
from rp_handler.home.model_search import leads_into


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
        faults = Faults()
        with disk_errors(f"{self.folder} could not be written", remedy=OTHER_FOLDER):
            missing = [look for look in looks if look.path is None]
            free = faults.each(lambda look: self._freed(look, memory), missing)
            linked = [look for look in free if self._link(look.model)]
            fetched = [self._fetch(look.model) for look in free if look not in linked]
            if fetched:
                size = readable_size(sum(model.size for model, _ in fetched))
                say(f"Bringing {quantity(len(fetched), 'model')} ({size}) into {self.folder}.")
            faults.catch(fetch_to, fetched, self.hosts, say=say, progress=progress)
            arrived = [(model, path) for model, path in fetched if path.is_file()]
            for model, path in arrived:
                path.replace(self._place(model))
        for model, _ in arrived:
            memory.remember(self._place(model), model.sha256)
        brought = {model.target_path for model, _ in arrived}
        brought |= {look.model.target_path for look in linked}
        after = [self._after(look, brought) for look in looks]
        return after, faults.error

    def _after(self, look: Look, brought: set[str]) -> Look:
        if look.model.target_path not in brought:
            return look
        return Look(model=look.model, path=self._place(look.model), is_new=True)

    def _place(self, model: ManifestModel) -> Path:
        return self.folder / model.target_path

    def _freed(self, look: Look, memory: HashMemory) -> Look:
        """The look, if its model may be written to its place. Raises as `needs_link` does."""
        place = self._place(look.model)
        leads_out = place.is_symlink() and not self._is_inside(place)
        needs_link(
            self.folder,
            look.model,
            memory,
            replace_links=leads_out or not (place.exists() or is_circular(place)),
            overwrite=self.overwrite,
            overwriting="models sync --overwrite",
        )
        return look

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
