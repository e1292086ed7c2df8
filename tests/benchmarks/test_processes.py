"""Real programs: timed, waited for, and ended with what they started."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import Program, free_port
from comfy_errors import OperationFailedError

_SERVER = """
import http.server, sys, time
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/system_stats" else 404)
        self.end_headers()
time.sleep(0.3)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def _python(folder: Path) -> Program:
    return Program(
        command=(sys.executable, "-c"),
        variables=dict(os.environ),
        folder=folder,
        log=folder / "log",
    )


def test_the_time_is_that_of_the_whole_program(tmp_path: Path) -> None:
    assert 0.2 <= _python(tmp_path).seconds("import time; time.sleep(0.2)") < 20


def test_a_program_that_fails_is_reported_by_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match=r"ended with 3:\n  no room"):
        _python(tmp_path).seconds("print('no room'); raise SystemExit(3)")


def test_an_engine_is_ready_when_it_answers_and_is_ended_then(tmp_path: Path) -> None:
    port = free_port()
    seconds = _python(tmp_path).seconds_until_ready(_SERVER, str(port), port=port)
    assert seconds >= 0.3
    # Nothing listens there any more.
    with pytest.raises(OperationFailedError, match="before it was ready"):
        _python(tmp_path).seconds_until_ready("pass", port=port)


def test_what_a_program_left_behind_is_ended_with_it(tmp_path: Path) -> None:
    late = tmp_path / "late"
    child = f"import time; time.sleep(1); open({str(late)!r}, 'w')"
    _python(tmp_path).seconds(
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    )
    time.sleep(1.5)
    assert not late.exists()


def test_the_memory_of_the_largest_process_is_seen(tmp_path: Path) -> None:
    program = _python(tmp_path)
    _, alone = program.seconds_and_peak("pass")
    held = f"held = b'x' * {alone + 50_000_000}"
    _, peak = program.seconds_and_peak(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}], check=True)"
    )
    assert alone + 50_000_000 <= peak < alone + 100_000_000
