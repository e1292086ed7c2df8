from __future__ import annotations

import asyncio
import threading
import time

import pytest

from comfy_files.parallel import interrupted
from rp_handler.interruption import in_thread, together


def cancelled_soon(work: threading.Event, until: float) -> None:
    """Cancels what waits for `work`, which runs until that time or until it notices."""

    def wait() -> None:
        while not interrupted() and time.monotonic() < until:
            time.sleep(0.01)
        work.set()

    async def scenario() -> None:
        async with asyncio.timeout(0.1):
            await in_thread(wait)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())


def test_what_runs_in_a_thread_gives_its_result_or_its_error() -> None:
    assert asyncio.run(in_thread(lambda: 3)) == 3
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 / 0))


def test_work_in_a_thread_notices_a_cancellation_and_cleans_up() -> None:
    cleaned = threading.Event()
    cancelled_soon(cleaned, until=time.monotonic() + 60)
    assert cleaned.is_set()


def test_a_thread_that_ignores_a_cancellation_is_left_behind() -> None:
    heard = threading.Event()

    async def scenario() -> None:
        async with asyncio.timeout(0.1):
            await in_thread(lambda: heard.wait(60), grace_s=0.1)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
    assert time.monotonic() - began < 30
    heard.set()


def test_threads_are_used_again_and_know_nothing_of_earlier_work() -> None:
    async def scenario() -> tuple[set[int], list[bool]]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(lambda: time.sleep(0.2))
        idents = {await in_thread(threading.get_ident) for _ in range(20)}
        return idents, [await in_thread(interrupted) for _ in range(8)]

    idents, known = asyncio.run(scenario())
    assert len(idents) <= 3
    assert not any(known)


def test_many_at_once_each_have_a_thread() -> None:
    meeting = threading.Barrier(20)

    async def scenario() -> None:
        await asyncio.gather(*(in_thread(lambda: meeting.wait(60)) for _ in range(20)))

    asyncio.run(scenario())


def test_of_works_that_run_together_one_that_fails_ends_the_others() -> None:
    ended = []

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("waits")

    async def gives(result: int) -> int:
        return result

    assert asyncio.run(together([gives(1), gives(2)])) == [1, 2]
    with pytest.raises(ValueError, match="no"):
        asyncio.run(together([waits(), fails()]))
    assert ended == ["waits"]


def test_works_that_are_cancelled_together_may_each_clean_up() -> None:
    cleaned = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("up")

    async def scenario() -> None:
        work = asyncio.create_task(together([cleans_up(), asyncio.sleep(60)]))
        await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled()

    asyncio.run(scenario())
    assert cleaned == ["up"]
