"""The contestants of the targets 5 to 8 and 17 on one engine: our image, and one in
worker-comfyui's layout with the same trees and packages. What they leave on the engine goes in the
end."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import docker

from benchmarks.engine_room import EngineRoom, engine_room
from benchmarks.image_material import WORKFLOW, ImageMaterial, make_image_material
from benchmarks.loopback import counting_registry, served
from benchmarks.material import pins_of
from benchmarks.ours import Ours
from benchmarks.scratch import Scratch
from benchmarks.worker_image import WorkerImage
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images.base.catalogue import find_base
from runpod_comfy.images.context.inputs import image_installer
from runpod_comfy.images.context.packages import packages_for
from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep
from runpod_comfy.images.docker.buildkit import BuildOutcome, run_build
from runpod_comfy.images.registry.push import PushShow, push
from runpod_comfy.lock.python.wheels import bring_wheels, platform_files

Say = Callable[[str], None]

REPOSITORY = "runpod-comfy-bench"
OURS, THEIRS = f"{REPOSITORY}:ours", f"{REPOSITORY}:worker"
_PLATFORM, _ENGINE_PLATFORM = "linux-x86_64", "linux/amd64"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A build: its wall time, its steps, and the digests of the image's layers."""

    seconds: float
    steps: tuple[BuildStep, ...]
    layers: tuple[str, ...]

    def seconds_of(self, step: str) -> float:
        return next((each.seconds for each in self.steps if each.name == step), 0.0)

    def new_since(self, earlier: Built) -> list[str]:
        return [layer for layer in self.layers if layer not in earlier.layers]


@dataclass(kw_only=True)
class ImageContest:
    """`base` is what both are based on, a name or an image.

    `folder` is served at `address`, to builds alone.
    """

    room: EngineRoom
    scratch: Scratch
    say: Say
    rounds: int
    base: str
    material: ImageMaterial
    folder: Path
    address: str
    version: str = ""
    ours: list[Built] = field(default_factory=list)
    theirs: list[Built] = field(default_factory=list)

    def edit(self) -> None:
        """One node gets a new commit, which neither is timed for."""
        self.version = self.material.next_version()

    def build_both(self) -> None:
        """For the first time, which is not what is measured."""
        self.say("5–8: our image, for the first time")
        self.build_ours()
        self.say("5–8: the packages of the nodes, into a folder")
        self._fill_folder()
        self.say("5–8: the image in worker-comfyui's layout, for the first time")
        self.build_theirs()

    def build_ours(self) -> Built:
        """`image build`, the whole program."""
        seconds, told = self.material.ours.program.document(
            *("image", "build", self.version, "--base", self.base),
            *("--tag", OURS, "--json"),
        )
        steps = tuple(BuildStep(**step) for step in told["steps"])
        self.ours.append(Built(seconds=seconds, steps=steps, layers=self._layers(OURS)))
        return self.ours[-1]

    def build_theirs(self) -> Built:
        """The request that `docker build` makes of the engine."""
        self.theirs.append(self._build_worker(self._worker_image()))
        return self.theirs[-1]

    def build_theirs_from_index(self) -> Built:
        """The same with downloads of what the nodes ask for; it does not come to `theirs`."""
        image = replace(self._worker_image(), node_variables=self._index_variables)
        return self._build_worker(image)

    def _build_worker(self, image: WorkerImage) -> Built:
        uv = image_installer(_PLATFORM, self._cache)
        started = time.monotonic()
        outcome = self._solve(io.BytesIO(image.context(uv)))
        seconds = time.monotonic() - started
        self.room.made.add(outcome.image_id)
        return Built(seconds=seconds, steps=outcome.steps, layers=self._layers(THEIRS))

    def pushed_sizes(self, reference: str) -> dict[str, int]:
        """What each layer of an image weighs in a registry, in bytes, by its digest here."""
        self.say(f"pushing {reference} to a registry that only counts")
        with counting_registry() as registry:
            name = f"{registry.host}/{reference}"
            self.room.client.images.get(reference).tag(name)
            try:
                push(self.room.client, name, show=PushShow())
            finally:
                self.room.client.images.remove(name)
            return dict(zip(self._layers(reference), registry.layer_sizes(reference), strict=True))

    @property
    def base_reference(self) -> str:
        return find_base(self.material.lock(self.version), asked=self.base).reference

    @property
    def _cache(self) -> Cache:
        return Cache(root=self.material.ours.cache)

    def _layers(self, reference: str) -> tuple[str, ...]:
        return tuple(self.room.client.images.get(reference).attrs["RootFS"]["Layers"])

    def _worker_image(self) -> WorkerImage:
        lock = self.material.lock(self.version)
        return WorkerImage(
            base=self.base_reference,
            python=lock.python.version,
            core=self.address + self.material.write_core(self.folder),
            nodes=[self.address + name for name in self.material.write_nodes(self.folder)],
            pins=pins_of(lock),
            variables=self._with_folder(self._index_variables),
            node_variables=self._with_folder({"UV_NO_INDEX": "1"}),
            workflow=WORKFLOW,
        )

    def _fill_folder(self) -> None:
        python = self.material.lock(self.version).python
        files = [each for each in platform_files(python, _PLATFORM) if not each.in_torch_group]
        paths = bring_wheels(files, python.torch_index, self._surroundings)
        for each in files:
            (self.folder / each.file.name).symlink_to(paths[each.file.sha256])

    @property
    def _surroundings(self) -> FetchContext:
        return FetchContext(cache=self._cache, base_dir=self.material.ours.workspace)

    @property
    def _index_variables(self) -> dict[str, str]:
        """Where uv finds packages, as our build has it."""
        python = self.material.lock(self.version).python
        files = platform_files(python, _PLATFORM)
        return dict(packages_for(python, files, self._surroundings).variables["torch"])

    def _with_folder(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The same with the served folder."""
        links = [variables.get("UV_FIND_LINKS"), self.address]
        return {**variables, "UV_FIND_LINKS": ",".join(filter(None, links))}

    def _solve(self, context: io.BytesIO) -> BuildOutcome:
        return run_build(
            self.room.client,
            context,
            tags=[THEIRS],
            platform=_ENGINE_PLATFORM,
            no_cache=False,
            # The served folder is on this machine's loopback.
            network="host",
            build_args={},
            labels={},
            show=BuildShow(),
        )


@contextlib.contextmanager
def image_contest(
    client: docker.DockerClient, scratch: Scratch, say: Say, *, rounds: int, base: str
) -> Iterator[ImageContest]:
    """A contest with a first version; nothing is built yet."""
    folder = scratch.new("images")
    ours = Ours(workspace=folder / "workspace", cache=folder / "cache")
    (downloads := folder / "downloads").mkdir(parents=True)
    try:
        with engine_room(client, REPOSITORY) as room, served(downloads) as address:
            contest = ImageContest(
                room=room,
                scratch=scratch,
                say=say,
                rounds=rounds,
                base=base,
                material=make_image_material(folder, ours),
                folder=downloads,
                address=address,
            )
            say("5–8: pinning a version with five nodes")
            contest.edit()
            yield contest
    finally:
        scratch.drop(folder)
