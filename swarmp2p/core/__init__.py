"""The protocol as pure functions of (view, store, now): standard library only, no clock, no chance, no I/O.

Keccak-256, which the standard library lacks, is always an argument (`Keccak`).
"""
