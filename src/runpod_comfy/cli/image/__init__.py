"""The commands of `runpod-comfy image`, a module each."""
