"""Images: a plan as a Dockerfile and its context, built, pushed and verified through Docker.

What homes need too is in `layers`.
"""
