#!/usr/bin/env python3
"""The guide's name for `runpod-comfy`: version.py create|resolve|realize|test|… with the same flags."""

import door

door.open_door(*door.arguments())
