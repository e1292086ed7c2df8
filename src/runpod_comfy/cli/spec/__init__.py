"""The commands that write `versions/<id>.json`: `create`, and those that edit it.

What a spec may say is for `spec`; what it means today is for `resolve`.
"""
