#!/bin/sh
# The handler, rp_handler, for an image, in an environment of its own, so that no node's requirement can touch it.
# On a host there is nothing to do: it runs from where it is.
#
# TARGET             host or image
# INPUTS             requirements.txt: lines `name==version --hash=…`; sources/: the packages of this project that it is
# HANDLER_HOME       the environment that is made, in an image; nothing else is written
# UV, PYTHON         the installer; the interpreter that the environment is made for
# UV_…               uv's own settings: cache, indexes, find-links, certificate
# NO_INDEX           1: packages come from UV_FIND_LINKS alone
# OFFLINE            1: nothing is asked of the network
# SOURCE_DATE_EPOCH  the time that every file gets
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
# The image's PATH begins here, and programs of the handler's packages are not for nodes.
find "$VENV/bin" ! -type d ! -name 'python*' -exec rm -f {} +
compile_bytecode "$VENV/lib"
settle "$VENV"
