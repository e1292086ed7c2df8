"""The models that a job brings along: checked, fetched, kept for later jobs, and shown to the
engine while the job runs.

The models of a version are in `rp_handler.home`, and how any model is downloaded is in
`comfy_models`.
"""
