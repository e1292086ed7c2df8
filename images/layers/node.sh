#!/bin/sh
# One custom node: its own copy, because nodes write into their own folder. An earlier copy is replaced as a whole.
#
# INPUTS             tree/: the node's files; models.json, if models go into its folder: path → target of the link
# NODE_NAME          its folder in custom_nodes/
# COMFY_HOME         gets ComfyUI/custom_nodes/$NODE_NAME/
# VENV               the environment with the interpreter that compiles
# SOURCE_DATE_EPOCH  the time of every file
#
# Network: none.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

nodes=$COMFY_HOME/ComfyUI/custom_nodes
staging=$COMFY_HOME/.comfy_node_staging

rm -rf "$staging"
copy_tree "$INPUTS/tree" "$staging"
compile_bytecode "$staging"
if [ -f "$INPUTS/models.json" ]; then
    "$VENV/bin/python" -B -I -S "$layers/node_models.py" "$staging" "$INPUTS/models.json"
fi
settle "$staging"

mkdir -p "$nodes"
rm -rf "${nodes:?}/$NODE_NAME"
mv "$staging" "$nodes/$NODE_NAME"
settle "$nodes" "$COMFY_HOME" -prune
