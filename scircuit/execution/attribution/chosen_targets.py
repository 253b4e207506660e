"""Features that an attribution explains: the given ones, or a random sample of the measured ones
that fire.
"""

from __future__ import annotations

import numpy as np

from scircuit.core.address import Address, listed, parse
from scircuit.core.config import AttributeConfig
from scircuit.core.errors import UserError
from scircuit.core.study import Manifest, Study
from scircuit.execution.chosen_features import chosen_features
from scircuit.execution.feature_table import features_of


def chosen_targets(study: Study, trace: Manifest, config: AttributeConfig) -> list[Address]:
    """Addresses, ascending.

    The sample is drawn from the features of every layer of the run but its first, since nothing of
    an earlier layer is known there.

    Raises
    ------
    UserError
        If an address is malformed or not alive in the run, there are none to draw from, or fewer
        than one is asked for.
    """
    if config.targets < 1 or not 0 < config.share <= 1:
        raise UserError(
            f"--targets is {config.targets} and --share {config.share}; expected 1 or more, and a"
            " share above 0 and up to 1",
            f"the defaults are {AttributeConfig.targets} and {AttributeConfig.share}",
        )
    if config.features and not listed(config.features):
        raise UserError(
            f"--features is {', '.join(map(repr, config.features))}, which names no feature",
            "give addresses such as L01/F0012, or leave it out for a random sample",
        )
    table = features_of(study, trace)
    ids = [parse(text) for text in table.filter(table.column("alive")).column("id").to_pylist()]
    first = min((a.layer for a in ids), default=0)
    if listed(config.features):
        found, _ = chosen_features(study, trace, config.features, 0)
        if low := [a for a in found if a.layer == first]:
            raise UserError(
                f"{low[0]} is of the first layer of run {trace.run}: no feature of the run comes"
                " before it",
                f"choose features of the layers after {first}",
            )
        return sorted(found)
    pool = sorted(a for a in ids if a.layer > first)
    if not pool:
        raise UserError(
            f"no feature of run {trace.run} after its layer {first} fires in its cells",
            "trace more cells or later layers",
        )
    chosen = np.random.default_rng([config.seed, 13]).permutation(len(pool))[: config.targets]
    return [pool[i] for i in np.sort(chosen)]
