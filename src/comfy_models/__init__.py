"""The model store: bytes by sha256, and the links that lead to them."""
