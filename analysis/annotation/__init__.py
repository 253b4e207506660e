"""Names for features: enriched terms beside a matched null, cell types, labels, and the rates of
published atlases.
"""
