"""Trees of files by content: how each kind is pinned and how it is fetched."""
