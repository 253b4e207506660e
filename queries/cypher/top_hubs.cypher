// name: top_hubs
// title: Hubs for their firing rate
// folder: Hubs
// question: Which features affect more features than expected from their firing rate?
// shape: table
// param run: run = "" -- id of a trace run or of an imported map; empty: the newest complete trace run
// param limit: int = 20 (1..100000) -- maximum number of rows
// column hub_rank: rank by residual degree (1: strongest hub for its firing rate)
// column degree_rank: rank by raw out-degree, not adjusted for the firing rate
// column feature: address
// column name: caption
// column firing_rate: share of gene positions where it fires
// column out_degree: outgoing edges, by the rule of the analysis
// column expected_degree: out-degree expected from the firing rate alone
// column residual_degree: log((out_degree + 1) / (expected_degree + 1))
// column random_degree: effects that are not zero (calibrated rule) when a random direction of equal norm is removed (sampled)
// column swap_degree: the same when another feature's direction is removed instead (sampled)
// column support_share: share of its edges that are support
// column label: label: the best term; empty when not annotated
// column best_tf: most enriched TRRUST regulator
// budget: $limit
// note: Needs the findings of `scircuit analyse`. `degrees` counts edges at any threshold and does not need them.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature)
WHERE f.hub_rank IS NOT NULL AND (EXISTS { (f)-[:AFFECTS {run: run.id}]->() } OR (run.method = 'imported' AND EXISTS { (run)-[:USED]->(:Dictionary {id: f.dictionary}) }))
RETURN f.hub_rank AS hub_rank, f.degree_rank AS degree_rank, f.id AS feature, f.name AS name, f.firing_rate AS firing_rate,
  f.out_degree AS out_degree, f.expected_degree AS expected_degree, f.residual_degree AS residual_degree,
  f.random_degree AS random_degree, f.swap_degree AS swap_degree, f.support_share AS support_share,
  coalesce(f.label, '') AS label, coalesce(f.best_tf, '') AS best_tf
ORDER BY hub_rank, feature
LIMIT $limit
