"""The ways to deliver what a workflow makes, as `--output` and OUTPUT_MODE name them."""

OUTPUT_MODES = ("files", "base64")
