#!/bin/sh
# The handler, rp_handler, for an image. On a host there is nothing to do: it runs from where it is.
#
# TARGET             host or image
# INPUTS             handler/: the handler's files, in an image
# HANDLER_HOME       where they go, in an image
# SOURCE_DATE_EPOCH  the time that every file gets
#
# Network: none.
set -eu

if [ "$TARGET" = host ]; then
    exit 0
fi
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

rm -rf "$HANDLER_HOME"
copy_tree "$INPUTS/handler" "$HANDLER_HOME"
settle "$(dirname "$HANDLER_HOME")" -prune
settle "$HANDLER_HOME"
