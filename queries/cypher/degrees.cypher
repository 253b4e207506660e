// name: degrees
// title: Degrees at a threshold
// folder: Hubs
// question: How many features does each feature affect at this threshold?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param limit: int = 20 (1..100000) -- most rows
// column feature: address
// column name: caption
// column firing_rate: share of gene positions where it fires
// column out_degree: edges by the calibrated rule at $q and $min_support
// column support: of these, support
// column suppress: of these, suppress
// column strict: of these, both halves of the cells agree
// column out_degree_legacy: edges by the legacy rule (|d| > 0.5, consistency > 0.7)
// column stored: edge records stored
// budget: $limit

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature)-[r:AFFECTS]->(:Feature)
WHERE r.run = run.id
WITH f, r, r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0) AS edge,
  abs(r.d) > 0.5 AND (r.n + abs(2 * r.n_pos - r.n)) / 2.0 / r.n > 0.7 AS legacy
WITH f, count(r) AS stored, count(CASE WHEN edge THEN 1 END) AS out_degree,
  count(CASE WHEN edge AND r.mean < 0 THEN 1 END) AS support, count(CASE WHEN edge AND r.mean > 0 THEN 1 END) AS suppress,
  count(CASE WHEN edge AND r.halves = 2 THEN 1 END) AS strict, count(CASE WHEN legacy THEN 1 END) AS out_degree_legacy
RETURN f.id AS feature, f.name AS name, f.firing_rate AS firing_rate, out_degree, support, suppress, strict, out_degree_legacy, stored
ORDER BY out_degree DESC, feature
LIMIT $limit
