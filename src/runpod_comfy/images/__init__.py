"""Images: a plan as a Dockerfile and its context, built, pushed and proven through Docker.

What a home needs as well is in `layers`.
"""
