"""The models of a job for as long as it runs, where the engine finds them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import can_write
from comfy_files.progress import Say
from comfy_files.user_paths import expanded
from comfy_models.store import OF_JOBS
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.realized import Home
from rp_handler.inputs.policy import InputPolicy
from rp_handler.interruption import in_thread
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.fetch import Brought, ModelFetch
from rp_handler.job_models.kept import KeptModels
from rp_handler.job_models.names import Name, directories_of_engine
from rp_handler.job_models.policy import HOSTS, ModelPolicy
from rp_handler.job_models.view import ModelView

# A job that is cancelled does not leave links half changed.
_GRACE_S = 30.0


class JobModels:
    """The models that jobs bring along to the engine of `home`. Without a `policy` they may bring
    none.

    What is shown to the engine is below the existing folder `scratch`. `home` is then that of the
    engine to start.
    """

    def __init__(
        self,
        home: Home,
        policy: ModelPolicy | None,
        *,
        scratch: Path,
        inputs: InputPolicy,
        variables: Mapping[str, str],
        say: Say,
    ) -> None:
        self.home, self._say = home, say
        self._fetch: ModelFetch | None = None
        # The sha256 under each name since the engine has started.
        self._seen: dict[Name, str] = {}
        if policy is None:
            return
        known = directories_of_engine(home)
        self._view = ModelView(scratch / "models", {one for its in known.values() for one in its})
        self.home = replace(home, job_models=self._view.root)
        self._fetch = ModelFetch(
            home=home,
            kept=KeptModels(_folder(variables), policy.limit_bytes),
            policy=policy,
            inputs=inputs,
            variables=variables,
            say=say,
        )

    def listing(self) -> dict[str, Any]:
        """What a list of models has besides those of the version. Reads files."""
        return {} if self._fetch is None else {"job_models": self._fetch.kept.listing()}

    @contextlib.asynccontextmanager
    async def in_place(
        self, models: Sequence[JobModel], engine: ResidentEngine
    ) -> AsyncIterator[Mapping[str, str]]:
        """Fetches the models of a job, and shows them to `engine` during the block.

        Gives the sha256 (64 hex digits), by target path, of those that the engine does not have
        anyway. Raises as `ModelFetch.bring` does, and InvalidInputError where jobs may bring none.
        """
        if not models:
            yield {}
            return
        if self._fetch is None:
            raise InvalidInputError(
                "The job's input cannot be used: this worker does not accept 'models'.",
                remedy=f"Set {HOSTS} of the worker to the hosts that they may come from, such as "
                "huggingface.co.",
            )
        with contextlib.closing(await in_thread(partial(self._fetch.bring, models))) as brought:
            try:
                await self._forget_others(brought, engine)
                await in_thread(partial(self._view.show, brought.files), grace_s=_GRACE_S)
                yield brought.digests
            finally:
                await in_thread(partial(self._view.show, {}), grace_s=_GRACE_S)

    async def _forget_others(self, brought: Brought, engine: ResidentEngine) -> None:
        """Stops the engine if it has seen another file under the name of a model: its nodes may
        remember what they have read by the path of the file, or by its name.
        """
        if any(self._seen.get(name, sha256) != sha256 for name, sha256 in brought.by_name.items()):
            self._say(
                "A model of the job has the name of another file of an earlier job; restarting "
                "ComfyUI."
            )
            await engine.stop()
            self._seen.clear()
        self._seen |= brought.by_name


def _folder(variables: Mapping[str, str]) -> Path:
    """The folder of jobs' models: in the model store if one is named and can be written, else below
    the folder for temporary files.

    Raises UnavailableError if another user has made it.
    """
    store = variables.get("COMFY_CACHE_MODELS")
    if store and can_write(named := expanded(store).absolute() / OF_JOBS):
        return named
    folder = Path(tempfile.gettempdir(), f"comfy-job-models-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UnavailableError(
            f"{folder} belongs to another user.", remedy="Remove it, or set COMFY_CACHE_MODELS."
        )
    return folder
