// name: trrust_share
// title: TRRUST, beside chance
// folder: Regulation
// question: Do edges agree with known regulation more often than random pairs of features?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param top: int = 20 (1..1000) -- number of top genes of each feature to use
// param library: str = "TRRUST" e.g. "collectri" -- regulon library; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// column edges: edges by the default rule
// column consistent: edges with a regulator among the source's top genes and one of its target genes among the target's top genes
// column share: consistent / edges
// column pairs: all pairs of a traced source and a measured target in the run
// column consistent_pairs: pairs whose genes are linked by a regulation, whether or not there is an edge
// column expected_share: consistent_pairs / pairs: the share expected if edges had nothing to do with regulation
// column ratio: share / expected_share
// column signed: consistent edges with a known mode, one for each edge and mode
// column agree_share: share of these with the sign that the mode predicts
// column agree_expected: share expected if sign and mode were independent
// budget: 1

// current: the runs whose gene lists and terms are used
WITH current, $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run) {
  MATCH (s:Feature) WHERE EXISTS { (s)-[:AFFECTS {run: run.id}]->() }
  WITH s.layer AS layer, collect(s) AS here
  RETURN collect({layer: layer, n: size(here), features: here}) AS from_layers
}
CALL (run) {
  MATCH (t:Feature) WHERE EXISTS { ()-[:AFFECTS {run: run.id}]->(t) }
  WITH t.layer AS layer, count(t) AS n
  RETURN collect({layer: layer, n: n}) AS to_layers
}
CALL (run) {
  MATCH (:Feature)-[r:AFFECTS]->(:Feature) WHERE r.run = run.id AND rule.edge(r)
  RETURN count(r) AS edges
}
WITH current, run, from_layers, edges, reduce(total = 0, a IN from_layers |
  total + a.n * reduce(later = 0, b IN to_layers | later + CASE WHEN b.layer > a.layer THEN b.n ELSE 0 END)) AS pairs
CALL (run, from_layers, current) {
  UNWIND from_layers AS origin
  UNWIND origin.features AS s
  CALL (run, s, current) {
    CALL (run, s, current) {
      MATCH (s)-[a:LOADS_ON]->(tf:Gene)-[g:REGULATES]->(gene:Gene)<-[b:LOADS_ON]-(t:Feature)
      WHERE a.rank <= $top AND b.rank <= $top AND tf <> gene AND s.layer < t.layer AND $library IN ['', g.library]
        AND s.dictionary + ' ' + a.run IN current AND t.dictionary + ' ' + b.run IN current
      RETURN DISTINCT t, g.mode AS mode, null AS mean
      UNION ALL
      MATCH (s)-[r:AFFECTS]->(t:Feature)
      WHERE r.run = run.id AND rule.edge(r)
      RETURN t, null AS mode, rule.effect(r) AS mean
    }
    WITH run, t, collect(DISTINCT mode) AS modes, max(mean) AS mean
    WHERE size(modes) > 0 AND EXISTS { ()-[:AFFECTS {run: run.id}]->(t) }
    RETURN modes, mean
  }
  RETURN count(*) AS consistent_pairs, count(mean) AS consistent,
    count(CASE WHEN mean IS NOT NULL AND 'Activation' IN modes THEN 1 END) AS activation,
    count(CASE WHEN mean IS NOT NULL AND 'Repression' IN modes THEN 1 END) AS repression,
    count(CASE WHEN mean < 0 AND 'Activation' IN modes THEN 1 END) AS activation_support,
    count(CASE WHEN mean < 0 AND 'Repression' IN modes THEN 1 END) AS repression_support
}
WITH *, activation + repression AS signed, activation_support + repression_support AS support
RETURN edges, consistent, CASE WHEN edges > 0 THEN toFloat(consistent) / edges END AS share,
  pairs, consistent_pairs, CASE WHEN pairs > 0 THEN toFloat(consistent_pairs) / pairs END AS expected_share,
  CASE WHEN edges > 0 AND consistent_pairs > 0 THEN toFloat(consistent) / edges * pairs / consistent_pairs END AS ratio, signed,
  CASE WHEN signed > 0 THEN toFloat(activation_support + repression - repression_support) / signed END AS agree_share,
  CASE WHEN signed > 0 THEN (toFloat(activation) * support + toFloat(repression) * (signed - support)) / signed / signed END AS agree_expected
