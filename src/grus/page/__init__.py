"""The page of `grus serve`: type text and watch a trained network read it, step by step.

In: a character model. Out: an ASGI application for one user on the same machine. Imports all rooms
below; torch and the server's packages inside functions only.
"""
