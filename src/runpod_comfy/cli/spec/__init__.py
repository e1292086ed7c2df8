"""The commands that write `versions/<id>.json`: `create`, and those that edit it.

What a spec may contain is defined in `spec`; resolving it is done by `resolve`.
"""
