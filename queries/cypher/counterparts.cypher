// name: counterparts
// title: In the other model
// folder: Knowledge
// question: Which features of another model fire on the same genes as this one?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the feature with the closest counterpart
// param model: str = "" e.g. "scgpt-whole-human" -- name of the other model; empty: any
// param q: float = 0.01 (0..1) -- maximum q of the overlap
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column counterpart: address
// column name: caption
// column model: name of its model
// column layer: 0-based layer
// column overlap: weighted Jaccard overlap of the two lists of top genes
// column shared: shared top genes
// column p: share of matched random gene lists that overlap at least as much
// column q: Benjamini-Hochberg q
// column genes: shared genes, highest combined rank first
// column cell_types: cell types in which both fire more
// column terms: terms that both have, own or published, matched by accession
// column label: label: its best term
// column published_label: label as published
// budget: $limit
// note: These relationships are written by `scircuit match`. Sharing genes does not prove the same role: compare `cell_types` and `terms`.

// current: the runs whose gene lists and terms are used
WITH current, $feature AS address, $model AS wanted
CALL (address, wanted) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address, wanted WHERE address = ''
  MATCH (f:Feature)-[s:SAME_GENES]->(g:Feature)
  WHERE f.model <> g.model AND wanted IN ['', f.model, g.model] AND s.q <= $q
  WITH CASE WHEN wanted = f.model THEN g ELSE f END AS f, s ORDER BY s.overlap DESC, f.id LIMIT 1
  RETURN f
}
MATCH (f)-[s:SAME_GENES]-(g:Feature)
WHERE f.model <> g.model AND wanted IN ['', g.model] AND s.q <= $q
OPTIONAL MATCH (run:Run {id: s.run})
WITH current, f, g, s ORDER BY run.started DESC, run.id DESC
WITH current, f, g, head(collect(s)) AS s
WITH current, f, g, s ORDER BY s.overlap DESC, g.id LIMIT $limit
RETURN f.id AS feature, g.id AS counterpart, g.name AS name, g.model AS model, g.layer AS layer, s.overlap AS overlap, s.shared AS shared, s.p AS p, s.q AS q,
  COLLECT { MATCH (f)-[a:LOADS_ON]->(x:Gene)<-[b:LOADS_ON]-(g) WHERE f.dictionary + ' ' + a.run IN current AND g.dictionary + ' ' + b.run IN current WITH x, min(a.rank + b.rank) AS rank RETURN x.symbol ORDER BY rank, x.symbol } AS genes,
  COLLECT { MATCH (f)-[a:ACTIVE_IN]->(c:CellType)<-[b:ACTIVE_IN]-(g) WHERE a.q <= 0.05 AND b.q <= 0.05 AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current) AND (b.origin = 'published' OR g.dictionary + ' cells ' + b.run IN current) RETURN DISTINCT c.name AS cell_type ORDER BY cell_type } AS cell_types,
  COLLECT { MATCH (f)-[e:ENRICHED_FOR]->(t:Term) WHERE (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current) MATCH (g)-[h:ENRICHED_FOR]->(u:Term) WHERE t.accession = u.accession AND (h.origin = 'published' OR g.dictionary + ' ' + h.run IN current) RETURN DISTINCT t.name AS term ORDER BY term LIMIT 10 } AS terms,
  coalesce(g.label, '') AS label, coalesce(g.published_label, '') AS published_label
ORDER BY overlap DESC, counterpart
LIMIT $limit
