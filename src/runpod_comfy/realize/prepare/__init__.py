"""Before a home is touched: what is outdated, what cannot be had, how much room it takes, and
all of it brought into the caches.
"""
