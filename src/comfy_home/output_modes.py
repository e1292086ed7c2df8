"""The ways to deliver a workflow's outputs, as named by `--output` and OUTPUT_MODE."""

OUTPUT_MODES = ("files", "base64", "gcs", "s3")

# How to ask for outputs that need no bucket, where the mode came from.
BY_OPTION = "--output base64"
BY_VARIABLE = "OUTPUT_MODE=base64"
BY_JOB = '"output": "base64" in the job\'s input'
