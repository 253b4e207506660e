"""From per-cell effects to edge statistics: sign-flip p, q over all live tests, and the null that
allows for skewness.
"""
