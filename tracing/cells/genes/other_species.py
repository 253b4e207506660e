"""Genes of another species beside human ones: what the species are called, and how many are more
than a spike-in, a virus or a transgene.
"""

from __future__ import annotations

SPECIES = {"": "human", "MUS": "mouse", "RNO": "rat"}
"""Species by the infix of their Ensembl ids."""
_MANY, _SHARE = 200, 0.05


def most_of_another(total: int) -> float:
    """The most names of another species that say nothing, of so many names."""
    return max(_MANY, _SHARE * total)
