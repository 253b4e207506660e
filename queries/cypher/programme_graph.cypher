// name: programme_graph
// title: Programme, drawn
// folder: Knowledge
// question: How does a gene programme continue from layer to layer?
// shape: graph
// param term: str = "" e.g. "T cell activation" -- part of the term's name, or its accession; empty: the term with most features that are linked across layers
// param model: str = "" e.g. "geneformer-v2-316m" -- name of the model; empty: all
// param q: float = 0.05 (0..1) -- maximum calibrated q of an own annotation, or q of a published one
// param features: int = 40 (1..100) -- number of features with the smallest q
// param links: int = 3 (1..5) -- number of strongest links of each feature to later layers
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// column path: the path drawn
// budget: 600

// current: the runs whose gene lists and terms are used
WITH current, $term AS text, $model AS model
CALL (text, model, current) {
  MATCH (t:Term) WHERE text <> '' AND (toLower(t.name) CONTAINS toLower(text) OR t.accession = text)
  RETURN collect(t) AS terms
  UNION
  WITH text WHERE text = ''
  MATCH (f:Feature)-[:CO_OCCURS|SAME_GENES]->(:Feature)
  WHERE model IN ['', f.model]
  WITH DISTINCT f LIMIT 2000
  MATCH (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  WITH t, count(DISTINCT f) AS features ORDER BY features DESC, t.id LIMIT 1
  RETURN collect(t) AS terms
}
CALL (terms, model, current) {
  UNWIND terms AS t
  MATCH (f:Feature)-[e:ENRICHED_FOR]->(t)
  WHERE model IN ['', f.model] AND CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  WITH f, min(CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END) AS q ORDER BY q, f.id LIMIT $features
  RETURN collect(f) AS members
}
CALL (terms, members, current) {
  UNWIND members AS f
  CALL (f, members) {
    MATCH path = (f)-[r:CO_OCCURS|SAME_GENES]-(g:Feature)
    WHERE g IN members AND g.layer > f.layer
    RETURN path ORDER BY r.overlap DESC, r.pmi DESC LIMIT $links
  }
  RETURN path
  UNION
  UNWIND members AS f
  MATCH path = (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE t IN terms AND CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  RETURN path LIMIT 100
}
RETURN path
LIMIT 600
