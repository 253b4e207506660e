// name: trrust_share
// title: TRRUST, beside chance
// folder: Regulation
// question: Do edges agree with TRRUST more often than pairs of features drawn at random?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param top: int = 20 (1..1000) -- a gene counts when it is among the feature's first so many
// column edges: edges by the calibrated rule
// column consistent: edges whose source has a regulator and whose target has its target gene among the top genes
// column share: consistent / edges
// column pairs: all pairs of a traced source and a measured target of the run
// column consistent_pairs: pairs that a regulation links, edge or not
// column expected_share: consistent_pairs / pairs: the share when edges ignore regulation
// column ratio: share / expected_share
// column signed: consistent edges of a known mode, one for each edge and mode
// column agree_share: share of these with the sign that the mode predicts
// column agree_expected: share expected if sign and mode were independent
// budget: 1

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run) {
  MATCH (s:Feature)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id
  RETURN collect(DISTINCT s) AS sources, collect(DISTINCT t) AS targets,
    count(CASE WHEN r.q <= $q AND r.n_pos + r.n_neg >= $min_support THEN 1 END) AS edges
}
WITH run, sources, targets, edges, COUNT { UNWIND sources AS a UNWIND targets AS b WITH a, b WHERE a.layer < b.layer RETURN 1 } AS pairs
CALL (run) {
  MATCH (tf:Gene)-[g:REGULATES]->(gene:Gene)
  WHERE tf <> gene
  CALL (tf, run) {
    MATCH (s:Feature)-[a:LOADS_ON]->(tf) WHERE a.rank <= $top AND EXISTS { (s)-[:AFFECTS {run: run.id}]->() }
    RETURN collect(DISTINCT s) AS ss
  }
  WITH run, g, gene, ss WHERE size(ss) > 0
  CALL (gene, run) {
    MATCH (t:Feature)-[b:LOADS_ON]->(gene) WHERE b.rank <= $top AND EXISTS { ()-[:AFFECTS {run: run.id}]->(t) }
    RETURN collect(DISTINCT t) AS ts
  }
  UNWIND ss AS s
  UNWIND ts AS t
  WITH run, s, t, g WHERE s.layer < t.layer
  WITH run, s, t, collect(DISTINCT g.mode) AS modes
  OPTIONAL MATCH (s)-[r:AFFECTS]->(t) WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support
  WITH s, t, modes, head(collect(r)) AS r
  RETURN count(*) AS consistent_pairs, count(r) AS consistent,
    sum(CASE WHEN r IS NOT NULL AND 'Activation' IN modes THEN 1 ELSE 0 END) AS activation,
    sum(CASE WHEN r IS NOT NULL AND 'Repression' IN modes THEN 1 ELSE 0 END) AS repression,
    sum(CASE WHEN r.mean < 0 AND 'Activation' IN modes THEN 1 ELSE 0 END) AS activation_support,
    sum(CASE WHEN r.mean < 0 AND 'Repression' IN modes THEN 1 ELSE 0 END) AS repression_support
}
WITH *, activation + repression AS signed, activation_support + repression_support AS support
RETURN edges, consistent, CASE WHEN edges > 0 THEN toFloat(consistent) / edges END AS share,
  pairs, consistent_pairs, CASE WHEN pairs > 0 THEN toFloat(consistent_pairs) / pairs END AS expected_share,
  CASE WHEN edges > 0 AND consistent_pairs > 0 THEN toFloat(consistent) / edges * pairs / consistent_pairs END AS ratio, signed,
  CASE WHEN signed > 0 THEN toFloat(activation_support + repression - repression_support) / signed END AS agree_share,
  CASE WHEN signed > 0 THEN (toFloat(activation) * support + toFloat(repression) * (signed - support)) / signed / signed END AS agree_expected
