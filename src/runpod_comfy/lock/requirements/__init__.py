"""The `requirements.txt` of cores and nodes, read as pip reads them and as untrusted input.

What is chosen for them is in `lock.python`.
"""
