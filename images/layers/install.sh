#!/bin/sh
# The install.py of one custom node that the spec allows to run. Records its changes to the home, and fails
# if it changed the lock's group `torch`. Runs after all nodes, and sees the changes of earlier install scripts.
#
# TARGET                    host or image
# INPUTS                    torch.txt: the content of the group `torch`, lines `name==version`
# NODE_NAME                 the node's folder in custom_nodes/
# COMFY_HOME                gets whatever install.py writes, and .comfy_install/$NODE_NAME.json, the record
# VENV                      the environment that install.py runs in and may change; its files are this home's own
# OFFLINE                   1: install.py has no network
# COMFY_INSTALL_TIMEOUT_S   its timeout in seconds; default 1800
# ENVIRONMENT_OWNER         in an image, uid:gid of the environment, if the engine may write to it
# SOURCE_DATE_EPOCH         the time of every file that it writes
# PIP_…, UV_…, GIT_…        are passed to install.py, for the pip, uv and git that it calls; so is every other variable
#                           that does not look like a secret or a cache folder
#
# Network: whatever install.py uses.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

nodes=$COMFY_HOME/ComfyUI/custom_nodes
node=$nodes/$NODE_NAME

# -S: files that install.py puts into the environment must not run in the program that watches it.
"$VENV/bin/python" -B -I -S "$layers/run_install.py"

compile_bytecode "$VENV/lib"
compile_bytecode "$node"
settle_environment
settle "$node"
settle "$COMFY_HOME" "$COMFY_HOME/ComfyUI" "$nodes" -prune
