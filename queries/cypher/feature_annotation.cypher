// name: feature_annotation
// title: Annotation of a feature
// folder: Features
// question: Which genes, terms and regulators describe this feature?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the annotated feature with the best hub rank, or the one with most published terms if none is ranked
// param q: float = 0.05 (0..1) -- maximum calibrated q of own terms, and q of cell types; published terms are listed with their published value
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 20 (1..1000) -- maximum number of rows
// column feature: address
// column kind: gene, term, regulator, module or cell type
// column rank: order within its kind
// column name: symbol or name
// column library: gene-set library
// column q: Benjamini-Hochberg q; of a published term its adjusted p
// column q_calibrated: own q against random gene lists matched to the feature
// column origin: own or published
// column odds_ratio: odds ratio
// column overlap: genes shared with the term
// column detail: shared genes; for a gene: firings and mean activation
// budget: 5 * $limit

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
  MATCH (f)-[l:LOADS_ON]->(g:Gene)
  WHERE f.dictionary + ' ' + l.run IN current
  WITH g, min(l.rank) AS rank, max(l.mean_activation) AS activation, max(l.fire_count) AS firings
  RETURN 1 AS block, 'gene' AS kind, rank, g.symbol AS name, '' AS library, null AS q, null AS q_calibrated, '' AS origin, null AS odds_ratio, null AS overlap,
    CASE WHEN firings IS NULL THEN [] ELSE [toString(firings) + ' firings'] END + ['mean activation ' + toString(round(activation, 3))] AS detail
  ORDER BY rank, name LIMIT $limit
  UNION ALL
  MATCH (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE CASE WHEN e.origin = 'published' THEN true WHEN NOT f.dictionary + ' ' + e.run IN current THEN false WHEN e.test = 'weighted' THEN e.q <= $q ELSE e.q_calibrated <= $q END
  WITH t, e ORDER BY e.q, e.p
  WITH t, e.origin AS origin, head(collect(e)) AS e
  RETURN 2 AS block, 'term' AS kind, null AS rank, t.name AS name, t.library AS library, e.q AS q, e.q_calibrated AS q_calibrated, origin, e.odds_ratio AS odds_ratio,
    e.overlap AS overlap, e.genes AS detail
  ORDER BY origin, q, name LIMIT $limit
  UNION ALL
  WITH f, current, listed.best_tf(f) AS best_tf WHERE best_tf <> ''
  RETURN 3 AS block, 'regulator' AS kind, 1 AS rank, best_tf AS name, coalesce(listed.tf_library(f), '') AS library, listed.best_tf_q(f) AS q, null AS q_calibrated, 'own' AS origin, null AS odds_ratio,
    null AS overlap, [] AS detail
  UNION ALL
  MATCH (f)-[:MEMBER_OF]->(m:Module)
  RETURN DISTINCT 4 AS block, 'module' AS kind, null AS rank, m.name AS name, '' AS library, null AS q, null AS q_calibrated, '' AS origin, null AS odds_ratio,
    m.size AS overlap, [m.method] AS detail
  LIMIT $limit
  UNION ALL
  MATCH (f)-[a:ACTIVE_IN]->(c:CellType)
  WHERE a.q <= $q AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current)
  RETURN 5 AS block, 'cell type' AS kind, null AS rank, c.name AS name, '' AS library, a.q AS q, null AS q_calibrated, coalesce(a.origin, 'own') AS origin, a.odds_ratio AS odds_ratio,
    null AS overlap, [] AS detail
  ORDER BY q, name LIMIT $limit
}
WITH f, block, kind, rank, name, library, q, q_calibrated, origin, odds_ratio, overlap, detail ORDER BY block, rank, origin, q, name
RETURN f.id AS feature, kind, rank, name, library, q, q_calibrated, origin, odds_ratio, overlap, detail
