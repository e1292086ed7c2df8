"""Compares a lock with its sources as they are today.

Read-only: changing pins is in `lock.upgrade`.
"""
