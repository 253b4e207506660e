// name: edge_evidence
// title: The evidence for an edge
// folder: Edges
// question: How much of each edge does the residual stream carry, how far does it stand out from random directions, and in how many cells does it hold?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param feature: feature = "" -- address of the source, or its last two parts; empty: the strongest hub of the run
// param target: feature = "" -- address of the target, or its last two parts; empty: all edges of the source
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: the source
// column target: address
// column target_name: caption
// column kind: computed, carried or generic; none: no edge at these thresholds; calibrated: an edge without a direction null (none was drawn, or it does not fit between these layers), which cannot tell
// column direct: mean effect on the target's pre-activation that the residual stream alone carries, in dictionary units of the target
// column computed: mean effect on it that the blocks computed; the whole effect is direct + computed
// column z_direct: direct effect, in standard deviations of the same for random directions
// column z_computed: computed effect, in standard deviations of the same for random directions
// column q_direct: q of the direct effect against random directions
// column q_computed: q of the computed effect: over cells, and against random directions
// column computed_cells: cells whose computed effect has the sign of the mean
// column n: cells in which the source is active
// column mean: mean effect on the target's activation, in the same units
// column d: mean / standard deviation over cells
// column hedges_g: d (1 - 3 / (4 n - 5)), unbiased for few cells
// column q: q of the mean effect against zero
// column n_pos: cells whose target rises
// column n_neg: cells whose target falls
// column n_zero: cells with an effect below the numeric floor
// column consistency: share of the larger sign among non-zero cells
// column halves: number of halves of the cells (0, 1 or 2) with the same sign and p <= 0.05; empty where a half has fewer than 6 cells with an effect
// column pair_edges: computed edges between the two layers, as the run counted them
// column pair_expected_false: computed edges between them that held-out random directions give at the same threshold
// column pair_sigma_ratio: spread over directions drawn for single sources / spread of the pooled null (median): near 1 the z of this pair of layers can be used as they are
// budget: $limit
// note: All stored tests of the source are listed, whether or not they are edges; rows are ordered by |z_computed|, or by |d| where there is no direction null.
// note: `scircuit null` counts the same edges in a model with permuted weights.

WITH $run AS wanted, $feature AS address, $target AS goal
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, address, goal ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH run, address WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  RETURN f ORDER BY found.order(f) LIMIT 1
}
MATCH (f)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id AND goal IN ['', t.id]
WITH run, f, r, t ORDER BY abs(coalesce(r.z_computed, r.d)) DESC, t.id LIMIT $limit
CALL (run, f, t) {
  OPTIONAL MATCH (c:Control {run: run.id, control: 'direction_null'})
  WHERE c.source_layer = f.layer AND c.target_layer = t.layer
  RETURN c ORDER BY c.id LIMIT 1
}
RETURN f.id AS feature, t.id AS target, t.name AS target_name,
  CASE WHEN rule.computed(r) THEN 'computed' WHEN rule.carried(r) THEN 'carried'
    WHEN coalesce(rule.generic(r), false) THEN CASE WHEN r.z_computed IS NULL THEN 'calibrated' ELSE 'generic' END ELSE 'none' END AS kind,
  r.direct AS direct, r.computed AS computed, r.z_direct AS z_direct, r.z_computed AS z_computed, r.q_direct AS q_direct, r.q_computed AS q_computed,
  r.computed_cells AS computed_cells, r.n AS n, r.mean AS mean, r.d AS d,
  CASE WHEN r.n > 2 THEN r.d * (1 - 3.0 / (4 * r.n - 5)) END AS hedges_g, r.q AS q,
  r.n_pos AS n_pos, r.n_neg AS n_neg, r.n - r.n_pos - r.n_neg AS n_zero,
  CASE WHEN r.n_pos + r.n_neg > 0 THEN (r.n_pos + r.n_neg + abs(r.n_pos - r.n_neg)) / 2.0 / (r.n_pos + r.n_neg) END AS consistency,
  r.halves AS halves, c.edges AS pair_edges, c.expected_false AS pair_expected_false, c.sigma_ratio AS pair_sigma_ratio
ORDER BY abs(coalesce(r.z_computed, r.d)) DESC, target
