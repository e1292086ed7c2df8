"""The shared cache: its folders, its locks, and the trees and archives in it.

Fetching them is in `sources`; removing them is in `upkeep`.
"""
