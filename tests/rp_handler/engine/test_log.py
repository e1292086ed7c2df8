from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rp_handler.engine.log import follow


def test_a_line_is_said_once_it_is_whole_and_the_rest_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.log._FOLLOW_EVERY_S", 0)
    said: list[str] = []

    async def scenario() -> None:
        with (tmp_path / "log").open("wb", buffering=0) as log:
            log.write(b"one\ntw")
            following = asyncio.create_task(follow(tmp_path / "log", said.append))
            while said != ["one"]:
                await asyncio.sleep(0)
            log.write(b"o\nthree")
            following.cancel()
            await asyncio.wait([following])

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert said == ["one", "two", "three"]
