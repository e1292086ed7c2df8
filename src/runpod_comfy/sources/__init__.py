"""Where trees and packages come from: how each kind is pinned and fetched.

Where they are stored is in `cache`.
"""
