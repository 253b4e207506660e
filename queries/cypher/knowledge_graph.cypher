// name: knowledge_graph
// title: All about it, drawn
// folder: Knowledge
// question: What is known about this feature, as a picture?
// shape: graph
// param feature: feature = "" -- address, or its last two parts; empty: the annotated feature with the best hub rank, or the one with most published terms if none is ranked
// param q: float = 0.05 (0..1) -- maximum q of own terms, cell types, and edges that have a q
// param each: int = 6 (1..20) -- maximum number of neighbours of each kind
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
CALL (f, current) {
  MATCH path = (f)-[l:LOADS_ON]->(:Gene)
  WHERE f.dictionary + ' ' + l.run IN current
  RETURN path ORDER BY l.rank LIMIT $each
  UNION
  MATCH path = (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE e.origin <> 'published' AND f.dictionary + ' ' + e.run IN current AND e.q_calibrated <= $q
  RETURN path ORDER BY e.q_calibrated, t.name LIMIT $each
  UNION
  MATCH path = (f)-[e:ENRICHED_FOR {origin: 'published'}]->(t:Term)
  RETURN path ORDER BY e.q, t.name LIMIT $each
  UNION
  MATCH path = (f)-[l:LOADS_ON]->(:Gene)<-[:REGULATES]-(tf:Gene)
  WHERE l.rank <= $each AND f.dictionary + ' ' + l.run IN current
  RETURN path ORDER BY COUNT { MATCH (tf)-[:REGULATES]->(g)<-[k:LOADS_ON]-(f) WHERE f.dictionary + ' ' + k.run IN current RETURN DISTINCT g } DESC, tf.symbol, l.rank LIMIT $each
  UNION
  MATCH path = (f)-[a:ACTIVE_IN]->(c:CellType) WHERE a.q <= $q AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current)
  RETURN path ORDER BY a.q, c.name LIMIT $each
  UNION
  MATCH path = (f)-[a:ACTIVE_IN]->(c:Tissue) WHERE a.q <= $q AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current)
  RETURN path ORDER BY a.q, c.name LIMIT $each
  UNION
  MATCH path = (f)-[s:SAME_GENES]-(g:Feature)
  WHERE f.model <> g.model
  RETURN path ORDER BY s.overlap DESC, g.id LIMIT $each
  UNION
  MATCH path = (f)-[s:SAME_GENES]-(g:Feature)
  WHERE f.model = g.model
  RETURN path ORDER BY s.overlap DESC, g.id LIMIT $each
  UNION
  MATCH path = (f)-[:MEMBER_OF]->(m:Module)
  RETURN path ORDER BY m.id LIMIT $each
  UNION
  MATCH path = (f)-[r:AFFECTS|ATTRIBUTES_TO]->(:Feature)
  WHERE rule.q(r) IS NULL OR rule.q(r) <= $q
  RETURN path ORDER BY abs(coalesce(rule.rank(r), r.mean, r.weight)) DESC LIMIT $each
  UNION
  MATCH path = (:Feature)-[r:AFFECTS|ATTRIBUTES_TO]->(f)
  WHERE rule.q(r) IS NULL OR rule.q(r) <= $q
  RETURN path ORDER BY abs(coalesce(rule.rank(r), r.mean, r.weight)) DESC LIMIT $each
  UNION
  MATCH path = (f)-[h:CO_OCCURS]-(:Feature)
  RETURN path ORDER BY h.pmi DESC LIMIT $each
  UNION
  MATCH path = (f)-[r:RESPONDS_TO]->(p:Perturbation)
  WHERE NOT coalesce(r.degenerate, false)
  RETURN path ORDER BY abs(r.effect) DESC, p.name LIMIT $each
}
RETURN path
LIMIT 290
