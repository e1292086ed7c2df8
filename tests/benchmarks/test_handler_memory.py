"""What processes of one handler use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.handler_memory import can_measure, fields_of, memory_bytes, processes_of


def test_pages_of_files_count_once_and_others_by_their_part() -> None:
    parent = {"Rss": 70, "Anonymous": 50, "Pss_Anon": 30}
    child = {"Rss": 45, "Anonymous": 40, "Pss_Anon": 20}
    assert memory_bytes([parent, child]) == (30 + 20 + 20) * 1024


@pytest.mark.skipif(not can_measure(), reason="Linux counts it")
def test_the_processes_of_a_session_are_counted_and_no_other() -> None:
    script = "import os, time; os.fork(); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(2) == b"\n\n"
            found = set(processes_of(process.pid))
            assert len(found) == 2
            assert process.pid in found
            assert os.getpid() not in found
            used = memory_bytes([fields_of(one) for one in found])
            assert 0 < used < sum(fields_of(one)["Rss"] for one in found) * 1024
        finally:
            os.killpg(process.pid, 9)
