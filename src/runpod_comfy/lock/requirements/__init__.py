"""The `requirements.txt` of cores and nodes, read as pip reads them and as untrusted input.

Solving them is in `lock.python`.
"""
