// name: sign_by_layer
// title: Sign by layer pair
// folder: Edges
// question: What share of the edges of each layer pair is support?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// column source_layer: 0-based layer
// column target_layer: 0-based layer
// column edges: edges by the default rule
// column support: edges where ablation lowers the target
// column suppress: edges where ablation raises the target
// column support_share: support / edges
// column mean_abs_d: mean |d|
// column strict: edges on which both halves of the cells agree
// column support_share_strict: support share among these
// budget: 2000
// note: The legacy rule counts zeros as negative, which biases this share; no other rule does.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id AND rule.edge(r)
WITH s.layer AS source_layer, t.layer AS target_layer, count(r) AS edges,
  count(CASE WHEN rule.effect(r) < 0 THEN 1 END) AS support, count(CASE WHEN rule.effect(r) > 0 THEN 1 END) AS suppress, avg(abs(r.d)) AS mean_abs_d,
  count(CASE WHEN r.halves = 2 THEN 1 END) AS strict, count(CASE WHEN r.halves = 2 AND rule.effect(r) < 0 THEN 1 END) AS support_strict
RETURN source_layer, target_layer, edges, support, suppress, toFloat(support) / edges AS support_share, mean_abs_d, strict,
  CASE WHEN strict > 0 THEN toFloat(support_strict) / strict END AS support_share_strict
ORDER BY source_layer, target_layer
LIMIT 2000
