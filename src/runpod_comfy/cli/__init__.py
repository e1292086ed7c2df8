"""The command line: arguments in, one call, result out.

The only place on the build side that prints or exits; what a command does is in `api` and below.
"""
