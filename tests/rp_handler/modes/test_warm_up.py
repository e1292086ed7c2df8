from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.realized import open_home
from rp_handler.modes.warm_up import warm_up
from tests.graphs import SAVE
from tests.http_server import Answer, serve

CONTENT = json.dumps(SAVE).encode()


def warmed_up(home: Path, asked: str, tmp_path: Path) -> tuple[list[str], set[str]]:
    """What a warm-up says, and the classes of the nodes that run."""
    said: list[str] = []
    ran: set[str] = set()
    listener = Listener(say=said.append, progress=lambda it: ran.add(it.class_type))
    opened = open_home(home, version_id="demo", id_was_asked=True)

    async def run() -> None:
        async with ResidentEngine(opened, listener) as engine:
            said.clear()
            await warm_up(engine, asked, tmp_path, listener)

    asyncio.run(run())
    return said, ran


def test_a_workflow_can_come_from_an_address(home: Path, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    with serve(answering=lambda _: Answer(body=CONTENT)) as url:
        said, ran = warmed_up(home, f"{url}/w.json#sha256={sha256}", tmp_path)
    assert said[-1].startswith("The warm-up took ")
    assert ran == {node["class_type"] for node in SAVE.values()}


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [(200, CONTENT + b" ", "has another sha256 than"), (404, b"", "404")],
)
def test_a_warm_up_that_fails_is_only_said(
    home: Path, tmp_path: Path, status: int, content: bytes, message: str
) -> None:
    with serve(answering=lambda _: Answer(status=status, body=content)) as url:
        said, ran = warmed_up(home, f"{url}/w.json#sha256={'0' * 64}", tmp_path)
    assert said[-1].startswith("Warning: the warm-up failed: ")
    assert message in said[-1]
    assert ran == set()
