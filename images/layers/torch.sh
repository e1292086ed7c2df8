#!/bin/sh
# The Python environment, and in it the lock's group `torch`.
#
# INPUTS             requirements.txt: lines `name==version --hash=…`
# VENV               where the environment is made; whatever lies there is replaced,
#                    so the layer `wheels` has to follow
# UV, PYTHON         the installer; the interpreter that the environment is made for
# UV_…               uv's own settings: cache, indexes, find-links, certificate
# NO_INDEX           1: packages come from UV_FIND_LINKS alone
# OFFLINE            1: nothing is asked of the network
# SOURCE_DATE_EPOCH  the time that every file gets
#
# Network: the Python package indexes.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

rm -rf "$VENV"
"$UV" venv --quiet --no-project --relocatable --python "$PYTHON" "$VENV"
install_requirements "$INPUTS/requirements.txt"
compile_bytecode "$VENV/lib"
settle "$VENV"
