"""Runs a workflow before a worker takes its first job: models are loaded and kernels compiled."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urldefrag

from comfy_errors import ComfyError, InvalidInputError, MismatchError
from comfy_http.redaction import without_secrets
from comfy_http.settings import NetworkSettings
from comfy_workflows.graph import Graph, load_workflow
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import reportable
from rp_handler.interruption import in_thread
from rp_handler.job.job import Job
from rp_handler.job.request import named_workflow
from rp_handler.job.run import run_job
from rp_handler.outputs.sink import OutputSink

WORKFLOW = "COMFY_WARMUP_WORKFLOW"
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
_LARGEST_BYTES = 16_000_000


class _NoSink(OutputSink):
    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:  # noqa: ARG002
        return {"type": "none"}


def check_warm_up(asked: str, workflows: Path) -> None:
    """Raises InvalidInputError if `asked` is neither the name of a workflow in the folder
    `workflows` nor an address with a sha256.
    """
    if "://" not in asked:
        named_workflow(asked, workflows)
        return
    if not asked.startswith(("https://", "http://")) or not _SHA256.fullmatch(urldefrag(asked)[1]):
        raise InvalidInputError(
            f"{WORKFLOW} is the address {without_secrets(asked)}, without a sha256 of its file.",
            remedy="Add it: https://…/workflow.json#sha256=<64 hex digits>.",
        )


async def warm_up(engine: ResidentEngine, asked: str, workflows: Path, listener: Listener) -> None:
    """Runs the workflow `asked`, as `check_warm_up` has it, and keeps no outputs.

    If it fails, that is only said: jobs may be fine.
    """
    started = time.monotonic()
    try:
        graph = await in_thread(lambda: _graph(asked, workflows))
        job = Job(id="warm-up", graph=graph, place=WORKFLOW, sink=_NoSink(), listener=listener)
        await run_job(job, engine)
    except (ComfyError, OSError) as error:
        listener.say(f"Warning: the warm-up failed: {reportable(error).in_words()}")
        return
    listener.say(f"The warm-up took {time.monotonic() - started:.1f} s.")


def _graph(asked: str, workflows: Path) -> Graph:
    if "://" not in asked:
        return load_workflow(named_workflow(asked, workflows))
    from comfy_http.client import HttpClient

    url, fragment = urldefrag(asked)
    client = HttpClient(settings=NetworkSettings(), remedy=f"Correct {WORKFLOW}.")
    content = b""
    with client.download(url) as chunks:
        for chunk in chunks:
            content += chunk
            if len(content) > _LARGEST_BYTES:
                raise InvalidInputError(f"{without_secrets(url)} is too large for a workflow.")
    found = hashlib.sha256(content).hexdigest()
    if f"sha256={found}" != fragment:
        raise MismatchError(
            f"{without_secrets(url)} has another sha256 than {WORKFLOW} says: {found}.",
            remedy="Find out why it changed, and correct the variable.",
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "workflow.json"
        path.write_bytes(content)
        return load_workflow(path)
