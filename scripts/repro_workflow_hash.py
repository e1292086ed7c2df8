#!/usr/bin/env python3
"""The guide's name for `runpod-comfy repro`, with the same flags."""

import door

door.open_door("repro", *door.arguments())
