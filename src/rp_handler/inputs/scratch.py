"""The files of a job for as long as it runs."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

from rp_handler.inputs.document import JobInputs
from rp_handler.inputs.fetch import fetch_inputs
from rp_handler.inputs.policy import InputPolicy
from rp_handler.inputs.view import InputView
from rp_handler.interruption import in_thread

# Moving and removing files is not left half done where a job is cancelled.
_GRACE_S = 30.0


@contextlib.asynccontextmanager
async def inputs_in_place(
    inputs: JobInputs, view: InputView, *, policy: InputPolicy, variables: Mapping[str, str]
) -> AsyncIterator[dict[str, str]]:
    """Fetches the files of a job into `view`, and removes them after the block, with whatever nodes
    wrote there.

    Gives their sha256 (64 hex digits) by name. Raises as `fetch_inputs` does.
    """
    if not inputs.images and not inputs.files:
        try:
            yield {}
        finally:
            view.show(None)
        return
    folder = view.root.with_name(f"{view.root.name}-{uuid.uuid4().hex}")
    try:
        digests = await fetch_inputs(inputs, folder, policy=policy, variables=variables)
        await in_thread(partial(view.show, folder), grace_s=_GRACE_S)
        yield digests
    finally:
        await in_thread(partial(_clean, view, folder), grace_s=_GRACE_S)


def _clean(view: InputView, folder: Path) -> None:
    view.show(None)
    shutil.rmtree(folder, ignore_errors=True)
