#!/bin/sh
# The lock's group `wheels`, into the environment that the layer `torch` made.
#
# TARGET             host or image
# INPUTS             requirements.txt: lines `name==version --hash=…`; uv.toml: what source distributions need to be
#                    built, if the spec says so
# VENV               the environment
# UV                 the installer
# UV_…               uv's own settings: cache, indexes, find-links, certificate
# NO_INDEX           1: packages come only from UV_FIND_LINKS
# OFFLINE            1: no network access
# ENVIRONMENT_OWNER  in an image, uid:gid of the environment, if the engine may write to it
# SOURCE_DATE_EPOCH  the time of every new file
#
# Network: the Python package indexes.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

install_requirements "$INPUTS/requirements.txt"
compile_bytecode "$VENV/lib"
settle_environment
