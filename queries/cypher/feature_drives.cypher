// name: feature_drives
// title: What a feature drives
// folder: Features
// question: Which features change when this one is ablated?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param feature: feature = "" -- address, or its last two parts; empty: the strongest hub of the run
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: the ablated feature
// column target: address
// column target_name: caption
// column target_layer: 0-based layer
// column target_label: label: the best term
// column effect: support: ablating the source lowers the target; suppress: ablating it raises the target
// column computed: mean effect on the target's pre-activation that the blocks computed, in dictionary units of the target
// column direct: mean effect on it that the residual stream alone carries
// column z_computed: computed effect, in standard deviations of the same for random directions
// column q_computed: q of the computed effect: over cells, and against random directions
// column mean: mean effect on the target's activation over n cells, in the same units
// column d: mean / standard deviation over cells
// column q: q of the mean effect against zero
// column n: cells in which the source is active
// column n_pos: cells whose target rises
// column n_neg: cells whose target falls
// column halves: number of halves of the cells (0, 1 or 2) with the same sign and p <= 0.05; empty where a half has fewer than 6 cells with an effect
// budget: $limit
// note: `edge_evidence` has all that is known of each edge.

WITH $run AS wanted, $feature AS address
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, address ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH run, address WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  RETURN f ORDER BY found.order(f) LIMIT 1
}
MATCH (f)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id AND rule.edge(r)
RETURN f.id AS feature, t.id AS target, t.name AS target_name, t.layer AS target_layer, coalesce(found.label(t), '') AS target_label,
  CASE WHEN rule.effect(r) < 0 THEN 'support' ELSE 'suppress' END AS effect,
  r.computed AS computed, r.direct AS direct, r.z_computed AS z_computed, r.q_computed AS q_computed,
  r.mean AS mean, r.d AS d, r.q AS q, r.n AS n, r.n_pos AS n_pos, r.n_neg AS n_neg, r.halves AS halves
ORDER BY abs(rule.rank(r)) DESC, target
LIMIT $limit
