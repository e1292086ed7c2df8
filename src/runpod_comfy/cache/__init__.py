"""The shared cache: its folders, who works in it, the trees and archives that it keeps.

What brings them there is in `sources`; what takes them out is in `upkeep`.
"""
