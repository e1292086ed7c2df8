#!/bin/sh
# The handler, rp_handler, for an image, in an environment of its own, so that no node's requirement can touch it.
# On a host there is nothing to do: it runs from where it is.
#
# TARGET             host or image
# INPUTS             handler.pex: the handler and what it needs, in an image
# HANDLER_HOME       the environment that is made of it, in an image
# PYTHON             the interpreter that the environment is made for, in an image
# SOURCE_DATE_EPOCH  the time that every file gets
#
# Network: none.
set -eu

if [ "$TARGET" = host ]; then
    exit 0
fi
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

# An environment, so that nothing is unpacked at each start. A PEX wants to write to its own file.
cp "$INPUTS/handler.pex" /tmp/handler.pex
PEX_TOOLS=1 PEX_ROOT=/tmp/pex "$PYTHON" /tmp/handler.pex venv --force --site-packages-copies "$HANDLER_HOME"
VENV=$HANDLER_HOME
compile_bytecode "$VENV/lib"
settle "$VENV"
