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
WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
WITH run, f, found.hub_rank(f) AS hub_rank WHERE hub_rank IS NOT NULL AND found.annotated(f) = false
WITH run, f, hub_rank ORDER BY hub_rank, f.id LIMIT $limit
RETURN hub_rank, f.id AS feature, f.name AS name, found.out_degree(f) AS out_degree, found.expected_degree(f) AS expected_degree,
  found.firing_rate(f) AS firing_rate, found.annotatable_genes(f) AS annotatable_genes, found.top_genes(f) AS top_genes,
  coalesce(found.best_tf(f), '') AS best_tf, found.best_tf_q(f) AS best_tf_q
ORDER BY hub_rank, feature
