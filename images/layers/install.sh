#!/bin/sh
# The install.py of one custom node, which the spec lets run. Records what it changed in the home, and fails
# if it touched the lock's group `torch`. Runs after all nodes, and sees what earlier install scripts did.
#
# INPUTS                    torch.txt: what the group `torch` holds, lines `name==version`
# NODE_NAME                 the node's folder in custom_nodes/
# COMFY_HOME                gets whatever install.py writes, and .comfy_install/$NODE_NAME.json, the record of it
# VENV                      the environment that install.py runs in, and may change; its files belong to this home alone
# OFFLINE                   1: install.py has no network
# COMFY_INSTALL_TIMEOUT_S   the time it has, in seconds; default 1800
# SOURCE_DATE_EPOCH         the time that every file gets that it writes
# PIP_…, UV_…, GIT_…        reach install.py, for the pip, uv and git that it calls; so does every other variable that
#                           does not look like a secret or like a place for caches
#
# Network: whatever install.py asks for.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

nodes=$COMFY_HOME/ComfyUI/custom_nodes
node=$nodes/$NODE_NAME

# -S: what install.py puts into the environment is not to run in what watches it.
"$VENV/bin/python" -B -I -S "$layers/run_install.py"

compile_bytecode "$VENV/lib"
compile_bytecode "$node"
settle "$VENV"
settle "$node"
settle "$COMFY_HOME" "$COMFY_HOME/ComfyUI" "$nodes" -prune
