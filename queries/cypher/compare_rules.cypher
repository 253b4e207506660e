// name: compare_rules
// title: Edge rules compared
// folder: Edges
// question: How many edges does each rule find between two layers: computed, carried, generic, calibrated, legacy?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// column source_layer: 0-based layer
// column target_layer: 0-based layer
// column stored: stored edge records
// column computed: computed edges: the model's blocks made the effect, and it is specific to the source
// column carried: carried edges: the residual stream carries the source's direction on, and nothing specific is computed
// column generic: generic edges: an effect that is not zero, and neither computed nor carried
// column calibrated: edges by the calibrated rule: a mean effect that is not zero
// column legacy: edges by the legacy rule (|d| > 0.5, consistency > 0.7)
// column both: edges by the calibrated and the legacy rule
// column only_calibrated: edges by the calibrated rule alone
// column only_legacy: edges by the legacy rule alone: not significant, in too few cells, or too small
// column jaccard: both / either
// column agree_calibrated: share of the calibrated edges on which both halves of the cells agree, among those with at least 6 cells with an effect in each half
// column agree_legacy: the same share of legacy edges
// budget: 2000
// note: A run without a direction null cannot tell computed and carried edges apart: it has none, and all its calibrated edges count as generic.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id
WITH s.layer AS source_layer, t.layer AS target_layer, r.halves AS halves,
  coalesce(rule.computed(r), false) AS computed, coalesce(rule.carried(r), false) AS carried, coalesce(rule.generic(r), false) AS generic,
  coalesce(rule.calibrated(r), false) AS c,
  rule.legacy(r) AS l
WITH source_layer, target_layer, count(*) AS stored, count(CASE WHEN computed THEN 1 END) AS computed,
  count(CASE WHEN carried THEN 1 END) AS carried, count(CASE WHEN generic THEN 1 END) AS generic, count(CASE WHEN c THEN 1 END) AS calibrated, count(CASE WHEN l THEN 1 END) AS legacy,
  count(CASE WHEN c AND l THEN 1 END) AS both, count(CASE WHEN c THEN halves END) AS ct, count(CASE WHEN l THEN halves END) AS lt,
  count(CASE WHEN c AND halves = 2 THEN 1 END) AS cc, count(CASE WHEN l AND halves = 2 THEN 1 END) AS lc
RETURN source_layer, target_layer, stored, computed, carried, generic, calibrated, legacy, both, calibrated - both AS only_calibrated, legacy - both AS only_legacy,
  CASE WHEN calibrated + legacy > both THEN toFloat(both) / (calibrated + legacy - both) END AS jaccard,
  CASE WHEN ct > 0 THEN toFloat(cc) / ct END AS agree_calibrated,
  CASE WHEN lt > 0 THEN toFloat(lc) / lt END AS agree_legacy
ORDER BY source_layer, target_layer
LIMIT 2000
