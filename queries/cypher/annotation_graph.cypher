// name: annotation_graph
// title: Genes and terms, drawn
// folder: Features
// question: Which genes and terms is this feature about?
// shape: graph
// param feature: feature = "" -- address, or its last two parts; empty: the annotated feature with the best hub rank, or the one with most published terms if none is ranked
// param q: float = 0.05 (0..1) -- maximum calibrated q of an own term, or adjusted p of a published one
// param origin: str = "" e.g. "published" -- own or published annotations; empty: own if the feature has any, otherwise published
// param genes: int = 20 (1..100) -- maximum number of genes drawn
// param terms: int = 8 (1..40) -- maximum number of terms drawn
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// column path: the path drawn
// budget: 290

// current: the runs whose gene lists and terms are used
WITH current, $feature AS address
CALL (address, current) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address, current WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:LOADS_ON]->() }
  RETURN f ORDER BY coalesce(listed.annotated(f), false) DESC, f.hub_rank, listed.label_q(f), coalesce(f.published_terms, 0) DESC, f.id LIMIT 1
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
