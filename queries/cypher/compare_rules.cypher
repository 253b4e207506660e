// name: compare_rules
// title: Two edge rules compared
// folder: Edges
// question: How many edges do the legacy and the calibrated rule give, and how many both?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// column source_layer: 0-based layer
// column target_layer: 0-based layer
// column stored: edge records stored
// column calibrated: q <= $q and support >= $min_support
// column legacy: |d| > 0.5 and legacy consistency > 0.7
// column both: edges by both rules
// column only_calibrated: missed by the legacy rule
// column only_legacy: not significant or without support
// column jaccard: both / either
// column agree_calibrated: share of calibrated edges on which both halves of the cells agree, of those with 6 cells with an effect in each
// column agree_legacy: the same share of legacy edges
// budget: 2000

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id
WITH s.layer AS source_layer, t.layer AS target_layer, r.halves AS halves,
  coalesce(r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0), false) AS c,
  abs(r.d) > 0.5 AND (r.n + abs(2 * r.n_pos - r.n)) / 2.0 / r.n > 0.7 AS l
WITH source_layer, target_layer, count(*) AS stored, count(CASE WHEN c THEN 1 END) AS calibrated, count(CASE WHEN l THEN 1 END) AS legacy,
  count(CASE WHEN c AND l THEN 1 END) AS both, count(CASE WHEN c THEN halves END) AS ct, count(CASE WHEN l THEN halves END) AS lt,
  count(CASE WHEN c AND halves = 2 THEN 1 END) AS cc, count(CASE WHEN l AND halves = 2 THEN 1 END) AS lc
RETURN source_layer, target_layer, stored, calibrated, legacy, both, calibrated - both AS only_calibrated, legacy - both AS only_legacy,
  CASE WHEN calibrated + legacy > both THEN toFloat(both) / (calibrated + legacy - both) END AS jaccard,
  CASE WHEN ct > 0 THEN toFloat(cc) / ct END AS agree_calibrated,
  CASE WHEN lt > 0 THEN toFloat(lc) / lt END AS agree_legacy
ORDER BY source_layer, target_layer
LIMIT 2000
