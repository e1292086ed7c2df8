"""Models on the Hugging Face Hub: a file, the files of a folder, and why the Hub refuses one.

How an address of the Hub is written is known beside this folder, because specs need it too.
"""
