#!/bin/sh
# Starts the engine once, as users will, and records what it reports.
# Fails if the engine does not start or a custom node does not import.
#
# TARGET          host or image
# INPUTS          in an image: manifest.json, its expected content; lock.json and sbom.cdx.json, stored beside it
# HANDLER_PYTHON  the interpreter that has rp_handler
# HANDLER_PATH    the path of rp_handler and its packages, like PYTHONPATH; may be empty
# COMFY_HOME      the home to check; gets .comfy_object_info.json, and in an image its marker, .comfy_env
# VENV            its environment
# CHECK_REPORT    the report's file
#
# Network: none, except loopback.
set -eu

set -- --home "$COMFY_HOME" --python "$VENV/bin/python" --report "$CHECK_REPORT"
if [ "$TARGET" = image ]; then
    cp "$INPUTS/manifest.json" "$COMFY_HOME/.comfy_env"
    cp "$INPUTS/lock.json" "$INPUTS/sbom.cdx.json" "$COMFY_HOME"
    set -- "$@" --seal
fi
PYTHONPATH=${HANDLER_PATH-} exec "$HANDLER_PYTHON" -m rp_handler.check.run "$@"
