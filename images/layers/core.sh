#!/bin/sh
# ComfyUI itself: replaces the files of an earlier core, and keeps everything else in its folder.
#
# INPUTS             tree/: the core's files
# COMFY_HOME         gets ComfyUI/, with the files of the core's own models folder in core_models/, and .comfy_core_files, the list of the core's files
# VENV               the environment with the interpreter that compiles
# SOURCE_DATE_EPOCH  the time of every file
#
# Network: none.
set -eu
# shellcheck source=images/layers/steps.sh
. "$(dirname "$0")/steps.sh"

core=$COMFY_HOME/ComfyUI
list=$COMFY_HOME/.comfy_core_files
staging=$COMFY_HOME/.comfy_core_staging

rm -rf "$staging"
copy_tree "$INPUTS/tree" "$staging"
if [ -d "$staging/models" ]; then
    # models/ leads to the home's models (see models.sh). Empty files only keep folders in git.
    mv "$staging/models" "$staging/core_models"
    find "$staging/core_models" -type f -size 0 -exec rm -f {} +
    find "$staging/core_models" -depth -type d -exec rmdir {} + 2>/dev/null || :
fi
compile_bytecode "$staging"
settle "$staging"

if [ -f "$list" ] && [ -d "$core" ]; then
    cd "$core"
    xargs -0 rm -f -- <"$list"
    find . -depth -type d ! -path . ! -path './custom_nodes/*' -exec rmdir {} + 2>/dev/null || :
fi
# The list is written before the files: the next run undoes an interrupted copy.
(cd "$staging" && find . ! -type d -print0 | LC_ALL=C sort -z) >"$list.partial"
mv -f "$list.partial" "$list"
if [ -d "$core" ]; then
    cp -RPp "$staging/." "$core"
    rm -rf "$staging"
else
    mv "$staging" "$core"
fi
mkdir -p "$core/custom_nodes"

settle "$core" "$core/custom_nodes" "$list" "$COMFY_HOME" -prune
