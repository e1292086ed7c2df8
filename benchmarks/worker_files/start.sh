#!/bin/sh
# Starts as worker-comfyui does: torch is imported to look for a device, then ComfyUI is started and left
# alone, then the handler, which waits until ComfyUI answers.
# Theirs ends here without a device; this goes on without one, so that it can be timed anywhere.
set -eu

device=""
python -c 'import torch; torch.cuda.init(); print(torch.cuda.get_device_name(0))' 2>&1 || device=--cpu

# shellcheck disable=SC2086
python -u /comfyui/main.py --disable-auto-launch --disable-metadata $device --verbose DEBUG --log-stdout &

exec python -u /handler.py
