"""Coherence: do the two ends of an edge share more terms than chance gives, and the nulls of a
property of pairs of features.
"""
