"""Edges that a stated background does not know."""
