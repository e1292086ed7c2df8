"""Fills network volumes of RunPod with models from here, over S3: no pod has to be started.

A pod or worker that has the volume mounted uses what lies one folder up.
"""
