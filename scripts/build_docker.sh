#!/bin/sh
# The guide's name for `runpod-comfy image build`, with the same flags.
exec sh "$(dirname -- "$0")/with_environment.sh" runpod-comfy image build "$@"
