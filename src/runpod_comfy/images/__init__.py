"""Images: a plan as a Dockerfile and its context, built, pushed and proven through Docker."""
