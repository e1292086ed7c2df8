"""Files in buckets: Google Cloud Storage, and S3 or compatible services.

What they share with other kinds of hosts lies one folder up.
"""
