// name: hubs_without_annotation
// title: Hubs without a term
// folder: Hubs
// question: Which strong hubs have no term in any gene-set library?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param limit: int = 20 (1..100000) -- maximum number of rows
// column hub_rank: rank by residual degree (1: strongest hub for its firing rate)
// column feature: address
// column name: caption
// column out_degree: outgoing edges, by the rule of the analysis
// column expected_degree: out-degree expected from the firing rate
// column firing_rate: share of gene positions where it fires
// column annotatable_genes: number of its top genes that occur in any term; with few of them no term can be found
// column top_genes: its top genes
// column best_tf: most enriched TRRUST regulator, significant or not
// column best_tf_q: q of best_tf
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
