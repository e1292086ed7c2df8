"""The start of a worker: what its variables set, and its engine, ready for the first job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.locked import LOCKED, require_locked
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.inputs.policy import InputPolicy, input_policy
from rp_handler.inputs.view import InputView
from rp_handler.interruption import in_thread
from rp_handler.job_models.in_place import JobModels
from rp_handler.job_models.policy import HOSTS as JOB_MODELS
from rp_handler.job_models.policy import ModelPolicy, model_policy
from rp_handler.modes.boot import Boot
from rp_handler.modes.prefetch import prefetches, prefetching
from rp_handler.modes.turns import TurnSettings, turn_settings
from rp_handler.modes.warm_up import WORKFLOW, check_warm_up, warm_up
from rp_handler.outputs.job_s3 import allows_job_buckets
from rp_handler.variables import is_strict
from rp_handler.webhook import WebhookSettings, webhook_settings


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What variables set for a worker, besides its outputs. `warm_up` is the workflow that runs
    first.
    """

    inputs: InputPolicy
    models: ModelPolicy | None
    webhooks: WebhookSettings
    turns: TurnSettings
    warm_up: str | None
    is_locked: bool
    prefetches: bool


def worker_settings(variables: Mapping[str, str], workflows: Path) -> WorkerSettings:
    """Raises InvalidInputError."""
    workflow = variables.get(WORKFLOW) or None
    if workflow:
        check_warm_up(workflow, workflows)
    # Each job asks again; here a value that cannot be used ends the worker.
    allows_job_buckets(variables)
    models, is_locked = model_policy(variables), is_strict(variables, LOCKED)
    if models is not None and is_locked:
        raise InvalidInputError(
            f"{LOCKED}=strict allows the models of the lock only, and {JOB_MODELS} those of jobs.",
            remedy=f"Unset {LOCKED} or {JOB_MODELS}.",
        )
    return WorkerSettings(
        inputs=input_policy(variables),
        models=models,
        webhooks=webhook_settings(variables),
        turns=turn_settings(variables),
        warm_up=workflow,
        is_locked=is_locked,
        prefetches=prefetches(variables),
    )


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The running engine, what brings the models of jobs, and warnings for every result."""

    engine: ResidentEngine
    models: JobModels
    warnings: Sequence[str]


class WorkerStart:
    """Starts the parts of a worker, which `stack` ends, and marks each stage in `boot`."""

    def __init__(
        self,
        settings: WorkerSettings,
        listener: Listener,
        boot: Boot,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._settings, self._listener, self._boot, self._stack = settings, listener, boot, stack

    async def engine(
        self,
        home: Home,
        search: ModelSearch | None,
        *,
        view: InputView,
        workflows: Path,
        port: int | None,
    ) -> Ready:
        """The engine of `home` with the models that were found, warmed up."""
        settings = self._settings
        at_hand = models_at_hand(home, search, say=self._listener.say)
        home, warnings = await self._stack.enter_async_context(at_hand)
        if settings.is_locked:
            home = await in_thread(lambda: _locked(home, search))
        self._boot.mark("models")
        models = JobModels(
            home,
            settings.models,
            scratch=view.root.parent,
            inputs=settings.inputs,
            variables=os.environ,
            say=self._listener.say,
        )
        engine = ResidentEngine(
            models.home,
            self._listener,
            port=port,
            input_folder=view.root,
            is_isolated=settings.turns.is_isolated,
        )
        # Also one that is cancelled while it starts.
        self._stack.push_async_exit(engine)
        async with contextlib.AsyncExitStack() as meanwhile:
            if settings.prefetches:
                reading = prefetching(settings.warm_up, workflows, models.home, self._listener)
                await meanwhile.enter_async_context(reading)
            await engine.running()
            self._boot.mark("engine")
            if settings.warm_up:
                await warm_up(engine, settings.warm_up, workflows, self._listener)
                self._boot.mark("warm_up")
        return Ready(engine=engine, models=models, warnings=warnings)


def _locked(home: Home, search: ModelSearch | None) -> Home:
    memory = search.memory_files if search else ()
    return require_locked(home, os.environ.get("LOCK_PATH"), memory)
