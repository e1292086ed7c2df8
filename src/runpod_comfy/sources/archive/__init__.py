"""Trees from archives: their download, and their content as untrusted input."""
