"""Attribution of pairs at one token against targets, sweeps and plain loops."""

from __future__ import annotations

import pytest
import torch

from scircuit.core.errors import UserError
from scircuit.tracing.attribution.backward_rows import backward_rows
from scircuit.tracing.attribution.feature_pairs import (
    input_factors,
    invariant_weights,
    pair_means,
    pair_weights,
    token_pairs,
)
from scircuit.tracing.attribution.frozen_cell import freeze
from scircuit.tracing.attribution.targets import feature_target
from tests.support.tiny_prenorm import KINDS, TinyPreNorm, tiny_cell, tiny_transcoders


@pytest.fixture(scope="module", params=KINDS)
def cell(request):
    model = TinyPreNorm(request.param)
    return freeze(model, tiny_cell(12), tiny_transcoders(model, features=20, rule="jumprelu"))


def test_pairs_are_activation_times_the_targets_vector(cell):
    """Weight times factor, with the weight from its own table."""
    source, target = cell.transcoders[0], cell.transcoders[2]
    table = torch.cat([w for _, w in invariant_weights(cell.adapter, source, target)])
    assert table.shape == (20, 20)
    factors = input_factors(cell, 0, 2)
    seen = 0
    for places, found in token_pairs(cell, 0, 2):
        for c, t in enumerate(places.tolist()):
            for a, i in enumerate(cell.layers[0].indices[t].tolist()):
                for b, j in enumerate(cell.layers[2].indices[t].tolist()):
                    v = feature_target(cell, 2, j, t).vector
                    wanted = cell.layers[0].values[t, a] * (source.decoder[i] @ v)
                    assert abs(float(found[c, a, b] - wanted)) < 1e-13
                    assert abs(float(table[i, j] * factors[t, a] - wanted)) < 1e-13
                    seen += 1
    assert seen > 200


def test_single_weights_and_parts_of_the_table_are_the_table(cell):
    source, target = cell.transcoders[1], cell.transcoders[3]
    table = torch.cat([w for _, w in invariant_weights(cell.adapter, source, target)])
    s, t = torch.tensor([3, 19, 3]), torch.tensor([0, 7, 19])
    singles = pair_weights(cell.adapter, source, target, s, t)
    torch.testing.assert_close(singles, table[s, t], atol=1e-13, rtol=0)
    parts = list(invariant_weights(cell.adapter, source, target, s, t))
    torch.testing.assert_close(parts[0][1], table[s][:, t], atol=1e-13, rtol=0)


def test_neighbours_of_parallel_blocks_have_no_other_path():
    """Between the output of one layer and the feed-forward of the next is the residual alone."""
    model = TinyPreNorm("parallel")
    cell = freeze(model, tiny_cell(7), tiny_transcoders(model))
    place = int(cell.layers[2].values.gt(0).nonzero()[-1, 0])
    feature = int(cell.layers[2].indices[place, 0])
    rows = backward_rows(cell, [feature_target(cell, 2, feature, place)])
    row = next(r for r in rows if r.layer == 1)
    _, found = next(iter(token_pairs(cell, 1, 2)))
    torch.testing.assert_close(found[place, :, 0], row.features[0, place], atol=1e-13, rtol=0)


def test_means_over_a_cell(cell):
    found = pair_means(cell, 1, 2)
    plain, both = {}, {}
    for t in range(cell.length):
        for a, i in enumerate(cell.layers[1].indices[t].tolist()):
            for b, j in enumerate(cell.layers[2].indices[t].tolist()):
                z, fires = cell.layers[1].values[t, a], cell.layers[2].values[t, b] > 0
                if z > 0 and fires:
                    v = feature_target(cell, 2, j, t).vector
                    c = float(z * (cell.transcoders[1].decoder[i] @ v))
                    plain[j, i] = plain.get((j, i), 0.0) + c
                    both[j, i] = both.get((j, i), 0) + 1
    assert sorted(plain) == list(zip(found.target.tolist(), found.source.tolist(), strict=True))
    for n, (j, i) in enumerate(sorted(plain)):
        layer = cell.layers[2]
        fires = int(((layer.indices == j) & (layer.values > 0)).any(1).sum())
        assert (found.positions[n], found.fires[n]) == (both[j, i], fires)
        assert abs(found.mean[n] - plain[j, i] / fires) < 1e-12


def test_refuses_a_source_that_is_not_below(cell):
    with pytest.raises(UserError, match=r"layer 2 adds nothing .* layer 2 reads"):
        pair_weights(
            cell.adapter, cell.transcoders[2], cell.transcoders[2], torch.zeros(1), torch.zeros(1)
        )
