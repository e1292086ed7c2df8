"""Files in buckets: Google Cloud Storage, and S3 or whatever speaks its language.

What they share with other kinds of hosts lies one folder up.
"""
