// name: strongest_edges
// title: Strongest edges
// folder: Edges
// question: Which edges are the strongest between two layers?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param source_layer: int = -1 (-1..999) -- 0-based layer of the source; -1: all
// param target_layer: int = -1 (-1..999) -- 0-based layer of the target; -1: all
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute mean effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column target: address
// column target_name: caption
// column effect: support: ablating the source lowers the target; suppress: ablating it raises the target
// column mean: mean effect over n cells, in dictionary units of the target
// column sd: standard deviation of the effect
// column d: mean / sd
// column hedges_g: d (1 - 3 / (4 n - 5)), unbiased for few cells
// column q: q over all live tests of the run
// column n: cells in which the source is active
// column n_pos: cells whose target rises
// column n_neg: cells whose target falls
// column n_zero: cells with an effect below the numeric floor
// column consistency: share of the larger sign among non-zero cells
// column passthrough: control: effect when the edit is re-encoded without any block computing
// column halves: number of halves of the cells (0, 1 or 2) with the same sign and p <= 0.05; empty where a half has fewer than 6 cells with an effect
// budget: $limit

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id AND rule.calibrated(r)
  AND $source_layer IN [-1, s.layer] AND $target_layer IN [-1, t.layer]
WITH s, r, t ORDER BY abs(r.d) DESC, s.id, t.id LIMIT $limit
RETURN s.id AS source, s.name AS source_name, t.id AS target, t.name AS target_name,
  CASE WHEN r.mean < 0 THEN 'support' ELSE 'suppress' END AS effect, r.mean AS mean, r.sd AS sd, r.d AS d,
  CASE WHEN r.n > 2 THEN r.d * (1 - 3.0 / (4 * r.n - 5)) END AS hedges_g, r.q AS q,
  r.n AS n, r.n_pos AS n_pos, r.n_neg AS n_neg, r.n - r.n_pos - r.n_neg AS n_zero,
  (r.n_pos + r.n_neg + abs(r.n_pos - r.n_neg)) / 2.0 / (r.n_pos + r.n_neg) AS consistency,
  r.passthrough AS passthrough, r.halves AS halves
