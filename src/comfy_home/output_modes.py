"""The ways to deliver a workflow's outputs, as named by `--output` and OUTPUT_MODE."""

OUTPUT_MODES = ("files", "base64", "gcs", "s3")
