"""The Python environment of a home: uv, the interpreter, packages, what the cache keeps."""
