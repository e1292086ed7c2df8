#!/usr/bin/env python3
"""The guide's name for `runpod-comfy verify-models`, with the same flags."""

import door

door.open_door("verify-models", *door.arguments())
