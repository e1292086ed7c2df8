#!/bin/sh
# The guide's name for `runpod-comfy init`, with the same flags.
exec sh "$(dirname -- "$0")/with_environment.sh" runpod-comfy init "$@"
