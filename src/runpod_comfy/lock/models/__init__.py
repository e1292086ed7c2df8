"""The models of a lock: which files a spec asks for, what their hosts promise, their sha256.

Getting them into the store is not done here, except for those whose sha256 no host tells.
"""
