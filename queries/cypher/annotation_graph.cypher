// name: annotation_graph
// title: Genes and terms, drawn
// folder: Features
// question: Which genes and terms is this feature about?
// shape: graph
// param feature: feature = "" -- address, or its last two parts; empty: the annotated feature of best hub rank, else the one with most published terms
// param q: float = 0.05 (0..1) -- largest calibrated q of the term, or its adjusted p as published
// param origin: str = "" e.g. "published" -- own or published annotations; empty: own where the feature has any, else published
// param genes: int = 20 (1..100) -- genes drawn
// param terms: int = 8 (1..40) -- terms drawn
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import whose gene lists, terms and cell types count; empty: the newest complete annotate run of each dictionary, else what was imported
// column path: the path drawn
// budget: 290

// current: of which run the gene lists and terms hold
WITH current, $feature AS address
CALL (address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:LOADS_ON]->() }
  RETURN f ORDER BY coalesce(f.annotated, false) DESC, f.hub_rank, f.label_q, coalesce(f.published_terms, 0) DESC, f.id LIMIT 1
}
WITH current, f, CASE WHEN $origin <> '' THEN $origin WHEN EXISTS { MATCH (f)-[e:ENRICHED_FOR {origin: 'own'}]->() WHERE f.dictionary + ' ' + e.run IN current } THEN 'own' ELSE 'published' END AS origin
CALL (f, origin, current) {
  MATCH path = (f)-[l:LOADS_ON]->(:Gene)
  WHERE f.dictionary + ' ' + l.run IN current
  RETURN path ORDER BY l.rank LIMIT $genes
  UNION
  MATCH path = (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND e.origin = origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  RETURN path ORDER BY CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END, t.name LIMIT $terms
  UNION
  MATCH (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND e.origin = origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  WITH DISTINCT f, t, e ORDER BY CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END, t.name LIMIT $terms
  MATCH path = (f)-[l:LOADS_ON]->(:Gene)-[:MEMBER_OF]->(t)
  WHERE l.rank <= $genes AND f.dictionary + ' ' + l.run IN current
  RETURN path LIMIT 200
}
RETURN path
LIMIT 290
