"""From flags to what is meant: the version, its lock, its folders, the realization."""
