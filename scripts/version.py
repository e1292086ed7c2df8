#!/usr/bin/env python3
"""The guide's name for `runpod-comfy`: the same commands with the same flags."""

import door

door.open_door(*door.arguments())
