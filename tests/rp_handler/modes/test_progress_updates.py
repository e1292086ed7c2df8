from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from rp_handler.modes.progress_updates import ProgressUpdates


def test_an_update_with_half_a_character_is_sent_and_so_is_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []

    async def send_result(_session: object, update: object, _job: object) -> None:
        # As the SDK does.
        sent.append(json.loads(json.dumps(update, ensure_ascii=False).encode()))

    monkeypatch.setattr("runpod.serverless.modules.rp_http.send_result", send_result)

    async def send() -> None:
        async with ProgressUpdates({"id": "a"}) as updates:
            for number, title in enumerate(("\ud800", "b"), 1):
                updates.put(partial(dict, title=title))
                while len(sent) < number:
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(send(), 20))
    assert [update["output"]["title"] for update in sent] == ["?", "b"]
