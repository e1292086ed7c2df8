#!/bin/sh
# The Python environment, and in it the lock's group `torch`.
#
# TARGET             host or image
# INPUTS             requirements.txt: lines `name==version --hash=…`; uv.toml: what source distributions need to be
#                    built, if the spec says so
# VENV               the environment to make; an existing one is replaced,
#                    so the layer `wheels` has to follow
# UV, PYTHON         the installer; the interpreter of the environment
# UV_…               uv's own settings: cache, indexes, find-links, certificate
# NO_INDEX           1: packages come only from UV_FIND_LINKS
# OFFLINE            1: no network access
# ENVIRONMENT_OWNER  in an image, uid:gid of the environment, if the engine may write to it
# SOURCE_DATE_EPOCH  the time of every file
#
# Network: the Python package indexes.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

rm -rf "$VENV"
"$UV" venv --quiet --no-project --relocatable --python "$PYTHON" "$VENV"
install_requirements "$INPUTS/requirements.txt"
compile_bytecode "$VENV/lib"
settle_environment
