"""A model in which it is known which features move a probe: power and false share of steering.

Nothing but the residual stream acts, so steering feature f moves the mean last state by
``dose mean_p z(p) W_dec[:, f]`` and a probe along u by the product with u.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scircuit.core.address import Address
from scircuit.tracing.interventions.steering import steer
from scircuit.tracing.interventions.steering.linear_probes import Linear
from scircuit.tracing.interventions.steering.steering_readouts import Probe
from tests.support.tiny_models import TinyDictionary, tiny_cells, tiny_cohort
from tests.support.toy_adapter import Toy

WIDTH, FEATURES, RANDOM = 32, 48, 19
PLANTED = 24


class Headed(Toy):
    """With a linear head on a vocabulary of 60."""

    def __init__(self, **options):
        super().__init__(**options)
        self.vocabulary = SimpleNamespace(
            gene_of_token=["", "", "", "", *(f"ENSG{t:02d}" for t in range(4, 60))],
            symbol=lambda g: "S" + g[4:],
            mask=1,
        )

    def head_rows(self, states):
        return states

    def unembed(self, rows):
        return rows @ self.table.T


def world(blocks=0.0):
    """Features 0 to 23 have a decoder column with a part along the probe; the others have random
    columns, which is what the random directions are.
    """
    adapter = Headed(layers=3, width=WIDTH, attention=blocks, feed=blocks)
    dictionary = TinyDictionary(0, WIDTH, FEATURES, 8, seed=0)
    rng = np.random.default_rng(7)
    u = rng.normal(size=WIDTH)
    u /= np.linalg.norm(u)
    columns = rng.normal(size=(FEATURES, WIDTH))
    columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    signs = np.where(np.arange(PLANTED) % 2 == 0, 1, -1)
    columns[:PLANTED] += 1.5 * signs[:, None] * u
    dictionary.w_dec = torch.from_numpy(columns.T.copy()).float()
    probe = Probe(
        name="along", unit="u", kind="pseudotime", doc="d", linear=Linear(u[None], np.zeros(1))
    )
    return adapter, dictionary, probe, signs, columns @ u


def run(blocks=0.0):
    adapter, dictionary, probe, signs, along = world(blocks)
    cohort = tiny_cohort(tiny_cells(10, seed=3))
    features = [Address("toy", "set", 0, i) for i in range(FEATURES)]
    tables = steer(
        adapter,
        {0: dictionary},
        cohort,
        features,
        (0.0, 2.0),
        run="r",
        random_directions=RANDOM,
        readouts=[probe],
    )
    steers = tables["Feature-STEERS-Readout"].to_pandas()
    return steers.loc[steers["target"] == "r/readout/along"].reset_index(drop=True), signs, along


@pytest.fixture(scope="module")
def plain():
    return run()


def test_the_slope_is_the_planted_amount(plain):
    steers, _, along = plain
    # of one feature in one cell: mean over gene positions of z, times the product of weights
    adapter, dictionary, *_ = world()
    for i in (0, 1, 30):
        means = []
        for tokens in tiny_cells(10, seed=3):
            z = dictionary.encode(adapter.clean_states(tokens)[0])[1:-1, i].double()
            if (z > 0).any():
                means.append(z.mean().item())
        assert steers["slope"][i] == pytest.approx(np.mean(means) * along[i], rel=1e-4)
    assert not steers["closed_form"].any()  # layer 0 of 3


def test_power_and_false_share(plain):
    steers, signs, _ = plain
    called = (steers["p_random"] <= 0.05).to_numpy()
    power, false = called[:PLANTED].mean(), called[PLANTED:].mean()
    assert power >= 0.95
    # 1 in 20 by chance: 5 or more of 24 have probability 0.006
    assert false * PLANTED <= 4
    assert (np.sign(steers["slope"][:PLANTED]) == signs).all()


def test_power_and_false_share_where_blocks_compute():
    steers, _, _ = run(blocks=0.3)
    called = (steers["p_random"] <= 0.05).to_numpy()
    assert called[:PLANTED].mean() >= 0.9 and called[PLANTED:].sum() <= 4


def test_a_test_over_cells_alone_calls_nearly_every_feature(plain):
    """Why p_random stands beside p: any direction moves a probe the same way in every cell."""
    steers, _, _ = plain
    assert (steers["p"][PLANTED:] <= 0.05).mean() > 0.8
