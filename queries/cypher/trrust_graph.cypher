// name: trrust_graph
// title: TRRUST edges, drawn
// folder: Regulation
// question: Which edges run from the features of a regulator to the features of its target gene?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param top: int = 20 (1..1000) -- number of top genes of each feature to use
// param library: str = "TRRUST" e.g. "collectri" -- regulon library; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 12 (1..60) -- maximum number of edges drawn, each with its regulation
// column path: the path drawn
// budget: 120

// current: the runs whose gene lists and terms are used
WITH current, $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (tf:Gene)-[g:REGULATES]->(gene:Gene)
WHERE tf <> gene AND $library IN ['', g.library]
MATCH (s:Feature)-[a:LOADS_ON]->(tf) WHERE a.rank <= $top AND s.dictionary + ' ' + a.run IN current
MATCH (t:Feature)-[b:LOADS_ON]->(gene) WHERE b.rank <= $top AND t.dictionary + ' ' + b.run IN current
MATCH (s)-[r:AFFECTS]->(t)
WHERE r.run = run.id AND rule.edge(r)
WITH s, a, tf, g, gene, b, t, r ORDER BY abs(rule.rank(r)) DESC, s.id, t.id, tf.symbol, gene.symbol, g.library LIMIT $limit
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
