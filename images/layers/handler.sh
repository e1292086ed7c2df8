#!/bin/sh
# The handler, rp_handler, for an image, in its own environment, so that no node's requirement can change it.
# On a host there is nothing to do: it runs from its own folder.
#
# TARGET             host or image
# INPUTS             requirements.txt: lines `name==version --hash=…`; sources/: the handler's packages of this project
# HANDLER_HOME       the environment to make, in an image; nothing else is written
# UV, PYTHON         the installer; the interpreter of the environment
# UV_…               uv's own settings: cache, indexes, find-links, certificate
# NO_INDEX           1: packages come only from UV_FIND_LINKS
# OFFLINE            1: no network access
# SOURCE_DATE_EPOCH  the time of every file
#
# Network: the Python package indexes, in an image.
set -eu

if [ "$TARGET" = host ]; then
    exit 0
fi
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

VENV=$HANDLER_HOME
"$UV" venv --quiet --no-project --relocatable --python "$PYTHON" "$VENV"
install_requirements "$INPUTS/requirements.txt"
for packages in "$VENV"/lib/python3.*/site-packages; do
    copy_tree "$INPUTS/sources" "$packages"
done
# The image's PATH starts here, and nodes must not use programs of the handler's packages.
find "$VENV/bin" ! -type d ! -name 'python*' -exec rm -f {} +
compile_bytecode "$VENV/lib"
settle_environment
