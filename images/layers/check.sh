#!/bin/sh
# Starts the engine once, as users will, and records what it says of itself.
# Fails if the engine does not start or a custom node does not import.
#
# HANDLER_PYTHON  the interpreter that has rp_handler
# HANDLER_PATH    where it finds rp_handler and what that needs, like PYTHONPATH; may be empty
# COMFY_HOME      the home to check; gets .comfy_object_info.json
# VENV            its environment
# CHECK_REPORT    the report's file
#
# Network: none, loopback excepted.
set -eu

PYTHONPATH=${HANDLER_PATH-} exec "$HANDLER_PYTHON" -m rp_handler.check \
    --home "$COMFY_HOME" --python "$VENV/bin/python" --report "$CHECK_REPORT"
