#!/usr/bin/env python3
"""The guide's name for `runpod-comfy realize`, with the same flags."""

import door

door.open_door("realize", *door.arguments())
