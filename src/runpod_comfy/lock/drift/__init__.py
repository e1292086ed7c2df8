"""A lock against the world of today.

Looks only, and changes nothing: moving pins is in `lock.upgrade`.
"""
