"""Model-written code, run where it can reach nothing: namespaces, a system call filter, limits.

``sandbox`` is the front door. ``supervisor`` and ``jail`` run in processes of their own, started
for every program: they import little, so that a start stays cheap.
"""
