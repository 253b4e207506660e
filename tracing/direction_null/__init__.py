"""What a vector of the same length at the same positions does that is not the feature: the null
that makes a computed effect specific.
"""
