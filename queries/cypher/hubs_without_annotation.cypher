// name: hubs_without_annotation
// title: Hubs without a name
// folder: Hubs
// question: Which strong hubs have no name in any gene-set library?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// param limit: int = 20 (1..100000) -- most rows
// column hub_rank: rank by residual degree
// column feature: address
// column name: caption
// column out_degree: calibrated edges out
// column expected_degree: out-degree expected from the firing rate
// column firing_rate: share of gene positions where it fires
// column annotatable_genes: top genes that occur in any term: few means that it could hardly be named
// column top_genes: its genes
// column best_tf: most enriched TRRUST regulator, whatever its q
// column best_tf_q: its q
// budget: $limit

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature)
WHERE f.hub_rank IS NOT NULL AND f.annotated = false AND EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
RETURN f.hub_rank AS hub_rank, f.id AS feature, f.name AS name, f.out_degree AS out_degree, f.expected_degree AS expected_degree,
  f.firing_rate AS firing_rate, f.annotatable_genes AS annotatable_genes, f.top_genes AS top_genes,
  coalesce(f.best_tf, '') AS best_tf, f.best_tf_q AS best_tf_q
ORDER BY hub_rank, feature
LIMIT $limit
