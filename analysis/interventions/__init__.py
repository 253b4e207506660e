"""Findings about joint ablations: sets of features, and classes of sets compared."""
