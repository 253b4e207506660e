// name: unannotated_neighbours
// title: Near an unnamed feature
// folder: Knowledge
// question: Which annotated features are near a feature without annotation?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the most active unannotated feature that has neighbours
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 10 (1..1000) -- maximum number of rows of each kind
// column feature: address
// column way: top genes, same genes, other model, co-occurs, module, cell type
// column label: label of the neighbours, own or otherwise published; or the cell type
// column origin: whether the label is own or published
// column neighbours: number of neighbours with this label
// column of: number of annotated neighbours of this kind
// column nearest: address of the nearest of these neighbours
// column strength: strength: shared top genes, overlap or pointwise mutual information; q for cell types
// budget: 6 * $limit
// note: The label of a neighbour is only a hypothesis, and frequent labels are frequent among any features. Compare `neighbours / of` with the overall frequency of the label.
// note: Neighbours by top genes share at least two top genes.

// current: the runs whose gene lists and terms are used
WITH current, $feature AS address
CALL (address, current) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address, current WHERE address = ''
  MATCH (f:Feature)
  WHERE coalesce(listed.label(f), '') = '' AND coalesce(f.published_label, '') = '' AND coalesce(f.alive, true) AND EXISTS { (f)-[:LOADS_ON]->() }
  RETURN f ORDER BY EXISTS { (f)-[:SAME_GENES|CO_OCCURS]-() } DESC, coalesce(f.firing_rate, 0) DESC, f.id LIMIT 1
}
CALL (f, current) {
  CALL (f, current) {
    MATCH (f)-[l:LOADS_ON]->(g:Gene) WHERE f.dictionary + ' ' + l.run IN current
    WITH DISTINCT g
    MATCH (g)<-[l:LOADS_ON]-(other:Feature) WHERE other <> f AND other.dictionary + ' ' + l.run IN current
    WITH other, count(DISTINCT g) AS shared WHERE shared >= 2
    RETURN 1 AS block, 'top genes' AS way, other, toFloat(shared) AS strength
    UNION ALL
    MATCH (f)-[s:SAME_GENES]-(other:Feature)
    WITH f, other, max(s.overlap) AS strength
    RETURN CASE WHEN f.model = other.model THEN 2 ELSE 3 END AS block, CASE WHEN f.model = other.model THEN 'same genes' ELSE 'other model' END AS way, other, strength
    UNION ALL
    MATCH (f)-[h:CO_OCCURS]-(other:Feature)
    RETURN 4 AS block, 'co-occurs' AS way, other, max(h.pmi) AS strength
    UNION ALL
    MATCH (f)-[:MEMBER_OF]->(:Module)<-[:MEMBER_OF]-(other:Feature) WHERE other <> f
    RETURN DISTINCT 5 AS block, 'module' AS way, other, null AS strength
  }
  WITH block, way, other, strength, coalesce(listed.label(other), '') AS own
  WITH block, way, other, strength, CASE own WHEN '' THEN 'published' ELSE 'own' END AS origin, CASE own WHEN '' THEN other.published_label ELSE own END AS label
  WHERE coalesce(label, '') <> ''
  WITH block, way, label, origin, other, strength ORDER BY strength DESC, other.id
  WITH block, way, label, origin, count(other) AS neighbours, head(collect({id: other.id, strength: strength})) AS nearest
  WITH block, way, label, origin, neighbours, nearest ORDER BY neighbours DESC, nearest.strength DESC, label
  WITH block, way, sum(neighbours) AS of, collect({label: label, origin: origin, neighbours: neighbours, nearest: nearest.id, strength: nearest.strength})[..$limit] AS rows
  RETURN collect({block: block, way: way, of: of, rows: rows}) AS named
}
CALL (f, named, current) {
  UNWIND named AS kind
  UNWIND kind.rows AS row
  RETURN kind.block AS block, kind.way AS way, kind.of AS of, row
  UNION ALL
  MATCH (f)-[a:ACTIVE_IN]->(c:CellType)
  WHERE a.q <= 0.05 AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current)
  WITH c, a ORDER BY a.q
  WITH c, head(collect(a)) AS a ORDER BY a.q, c.name LIMIT $limit
  RETURN 6 AS block, 'cell type' AS way, null AS of, {label: c.name, origin: coalesce(a.origin, 'own'), nearest: '', strength: a.q} AS row
}
WITH f, block, way, of, row ORDER BY block, row.neighbours DESC, CASE WHEN block = 6 THEN row.strength ELSE -row.strength END, row.label
RETURN f.id AS feature, way, row.label AS label, row.origin AS origin, row.neighbours AS neighbours, of, row.nearest AS nearest, row.strength AS strength
