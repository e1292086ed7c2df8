from __future__ import annotations

import json

from rp_handler.job.device import processor_name
from tests.program import start_python

_LOAD = """
import json, sys
started = []
sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
from rp_handler.modes.sdk import load_sdk
load_sdk()
from runpod.serverless.utils.rp_debugger import PROCESSOR
print(json.dumps({"started": started, "processor": PROCESSOR}))
"""


def test_the_sdk_starts_no_program_to_learn_the_processors_name() -> None:
    process = start_python("-c", _LOAD)
    out, _ = process.communicate()
    assert json.loads(out) == {"started": [], "processor": processor_name()}
