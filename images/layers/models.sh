#!/bin/sh
# Where models, inputs and outputs go: mount points, ComfyUI/models, which leads to the models, and
# extra_model_paths.yaml beside the core's main.py.
# The models themselves are linked later, on this machine or when a container starts.
#
# INPUTS             folders.txt: folders of the version's models, one per line
# COMFY_HOME         gets models/<folder>/, input/, output/, user/, ComfyUI/models and ComfyUI/extra_model_paths.yaml
# TARGET             host or image
# IMAGE_USER         uid:gid of the folders' owner, in an image
# VENV               the environment with the interpreter that asks the core for its folders
# SOURCE_DATE_EPOCH  the time of every file and folder
#
# Network: none.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

mkdir -p "$COMFY_HOME/models" "$COMFY_HOME/input" "$COMFY_HOME/output" "$COMFY_HOME/user"
if [ "$TARGET" = image ]; then
    # The handler lets it lead to wherever the models are mounted, also in a read-only container.
    models=/tmp/runpod-comfy/models
else
    models=../models
fi
"$VENV/bin/python" -B -I "$layers/model_folders.py" "$COMFY_HOME" "$INPUTS/folders.txt" "$models"
if [ "$TARGET" = image ]; then
    set -- "$COMFY_HOME/models" "$COMFY_HOME/input" "$COMFY_HOME/output" "$COMFY_HOME/user"
    chown -R "$IMAGE_USER" "$@"
    # Root writes there through the group: the engine runs without the right to override permissions.
    chmod -R g+w "$@"
fi

settle "$COMFY_HOME/ComfyUI/extra_model_paths.yaml" "$COMFY_HOME/ComfyUI" \
    "$COMFY_HOME/input" "$COMFY_HOME/output" "$COMFY_HOME/user" "$COMFY_HOME" -prune
settle "$COMFY_HOME/models" -type d
if [ -L "$COMFY_HOME/ComfyUI/models" ]; then
    settle "$COMFY_HOME/ComfyUI/models"
fi
