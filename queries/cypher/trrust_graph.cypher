// name: trrust_graph
// title: TRRUST edges, drawn
// folder: Regulation
// question: Which edges run from the features of a regulator to the features of its target gene?
// shape: graph
// param run: run = "" -- trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param top: int = 20 (1..1000) -- a gene counts when it is among the feature's first so many
// param library: str = "TRRUST" e.g. "collectri" -- library of regulons; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import whose gene lists, terms and cell types count; empty: the newest complete annotate run of each dictionary, else what was imported
// param limit: int = 12 (1..60) -- edges drawn, each with the regulation behind it
// column path: the path drawn
// budget: 120

// current: of which run the gene lists and terms hold
WITH current, $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (tf:Gene)-[g:REGULATES]->(gene:Gene)
WHERE tf <> gene AND $library IN ['', g.library]
MATCH (s:Feature)-[a:LOADS_ON]->(tf) WHERE a.rank <= $top AND s.dictionary + ' ' + a.run IN current
MATCH (t:Feature)-[b:LOADS_ON]->(gene) WHERE b.rank <= $top AND t.dictionary + ' ' + b.run IN current
MATCH (s)-[r:AFFECTS]->(t)
WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
WITH s, a, tf, g, gene, b, t, r ORDER BY abs(r.d) DESC, s.id, t.id LIMIT $limit
UNWIND [1, 2] AS part
CALL (s, a, tf, g, gene, b, t, r, part) {
  WITH s, r, t, part WHERE part = 1
  MATCH path = (s)-[r]->(t) RETURN path
  UNION
  WITH s, a, tf, g, gene, b, t, part WHERE part = 2
  MATCH path = (s)-[a]->(tf)-[g]->(gene)<-[b]-(t) RETURN path
}
RETURN path
LIMIT 120
