#!/bin/sh
# The guide's name for `runpod-comfy run`, with the same flags. Outputs go to Google Cloud Storage, as the guide has it,
# unless --output or OUTPUT_MODE says otherwise.
OUTPUT_MODE="${OUTPUT_MODE:-gcs}"
export OUTPUT_MODE
exec sh "$(dirname -- "$0")/with_environment.sh" runpod-comfy run "$@"
