"""Runs that could refute the edges: random directions, swapped features, split halves, and the
audit against exact.
"""
