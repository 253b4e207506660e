// name: feature_feeds
// title: What feeds a feature
// folder: Features
// question: Which features change this one when they are ablated?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param feature: feature = "" -- address, or its last two parts; empty: the feature with most incoming edges
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: the measured feature
// column source: address
// column source_name: caption
// column source_layer: 0-based layer
// column source_label: label: the best term
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
  MATCH (f:Feature) WHERE EXISTS { ()-[:AFFECTS {run: run.id}]->(f) }
  RETURN f ORDER BY COUNT { ()-[r:AFFECTS]->(f) WHERE r.run = run.id } DESC, f.id LIMIT 1
}
MATCH (s:Feature)-[r:AFFECTS]->(f)
WHERE r.run = run.id AND rule.edge(r)
RETURN f.id AS feature, s.id AS source, s.name AS source_name, s.layer AS source_layer, coalesce(found.label(s), '') AS source_label,
  CASE WHEN rule.effect(r) < 0 THEN 'support' ELSE 'suppress' END AS effect,
  r.computed AS computed, r.direct AS direct, r.z_computed AS z_computed, r.q_computed AS q_computed,
  r.mean AS mean, r.d AS d, r.q AS q, r.n AS n, r.n_pos AS n_pos, r.n_neg AS n_neg, r.halves AS halves
ORDER BY abs(rule.rank(r)) DESC, source
LIMIT $limit
