"""The files of a job for as long as it runs."""

from __future__ import annotations

import contextlib
import tempfile
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
    try:
        digests: dict[str, str] = {}
        if inputs.images or inputs.files:
            with tempfile.TemporaryDirectory(prefix="comfy-job-", ignore_cleanup_errors=True) as it:
                folder = Path(it, "inputs")
                digests = await fetch_inputs(inputs, folder, policy=policy, variables=variables)
                await in_thread(partial(view.show, folder), grace_s=_GRACE_S)
        yield digests
    finally:
        await in_thread(partial(view.show, None), grace_s=_GRACE_S)
