"""Transcoder attribution: what made a feature fire, or an answer more likely, in one cell, split
exactly over features, errors, embeddings and biases.

`frozen_cell` is the clean pass with all that is held fixed; `targets` and `answers` say what is
explained; `backward_rows` pulls targets back and gives every contribution in one sweep, whose sum
`completeness` checks. `feature_pairs`, `head_paths` and `query_key_terms` look closer: one pair,
one head, one score. `readable_subgraph` follows the strongest paths, `cell_graph` has all edges of
a cell, which `influence_pruning` thins out; `over_cells` joins many cells.
"""
