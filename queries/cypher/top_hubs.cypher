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
WHERE (EXISTS { (f)-[:AFFECTS {run: run.id}]->() } OR (run.method = 'imported' AND EXISTS { (run)-[:USED]->(:Dictionary {id: f.dictionary}) }))
WITH run, f, found.hub_rank(f) AS hub_rank WHERE hub_rank IS NOT NULL
WITH run, f, hub_rank ORDER BY hub_rank, f.id LIMIT $limit
RETURN hub_rank, found.degree_rank(f) AS degree_rank, f.id AS feature, f.name AS name, found.firing_rate(f) AS firing_rate,
  found.out_degree(f) AS out_degree, found.expected_degree(f) AS expected_degree, found.residual_degree(f) AS residual_degree,
  found.random_degree(f) AS random_degree, found.swap_degree(f) AS swap_degree, found.support_share(f) AS support_share,
  coalesce(found.label(f), '') AS label, coalesce(found.best_tf(f), '') AS best_tf
ORDER BY hub_rank, feature
