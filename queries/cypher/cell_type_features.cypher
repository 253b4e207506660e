// name: cell_type_features
// title: Features of a cell type
// folder: Knowledge
// question: Which features fire more in one cell type and not in another?
// shape: table
// param cell_type: str e.g. "T cell" -- part of the cell type's name
// param tissue: str = "" e.g. "lung" -- also require higher activity in a tissue whose name contains this text, in any cell type there; empty: any tissue
// param not_cell_type: str = "" e.g. "epithelial" -- exclude features found to fire more in a cell type whose name contains this text; empty: exclude none
// param not_tissue: str = "" e.g. "kidney" -- exclude features found to fire more in a tissue whose name contains this text; empty: exclude none
// param model: str = "" e.g. "scgpt-whole-human" -- name of the model; empty: all
// param q: float = 0.05 (0..1) -- maximum q
// param rare: int = 0 (0..1) -- 1: include features that fire at fewer than 100 positions
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column model: name of the model
// column layer: 0-based layer
// column cell_types: cell types in which it fires more, smallest q first
// column q: smallest q among these cell types
// column odds_ratio: odds ratio in that cell type; empty where infinite, or where another test was used
// column difference: difference of mean activation in that cell type, where that was the test
// column cells: number of cells of that cell type
// column donors: donors counted by the test; 0: it counted cells
// column origin: own or published
// column label: label: the best term
// column published_label: label as published
// column top_genes: its first five genes
// budget: $limit
// note: Cell types and tissues were tested separately: `tissue` asks for two separate findings, not for cells of that type in that tissue.
// note: Features are excluded if they were found there at the same q. The others may fire there too: too weakly for the test, or the cell type was not tested.
// note: Published tests count cells of few donors as independent, so their q is too small.

// current: the runs whose gene lists and terms are used
CALL () {
  MATCH (c:CellType|Tissue)
  RETURN collect(CASE WHEN c:CellType AND toLower(c.name) CONTAINS toLower($cell_type) THEN c END) AS types,
    collect(CASE WHEN c:Tissue AND $tissue <> '' AND toLower(c.name) CONTAINS toLower($tissue) THEN c END) AS tissues,
    collect(CASE WHEN (c:CellType AND $not_cell_type <> '' AND toLower(c.name) CONTAINS toLower($not_cell_type))
      OR (c:Tissue AND $not_tissue <> '' AND toLower(c.name) CONTAINS toLower($not_tissue)) THEN c END) AS excluded
}
CALL (types, tissues, excluded, current) {
  UNWIND types AS c
  MATCH (c)<-[a:ACTIVE_IN]-(f:Feature)
  WHERE a.q <= $q AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current) AND ($model = '' OR f.model = $model) AND ($rare = 1 OR NOT coalesce(f.rare, false))
  WITH f, coalesce(a.origin, 'own') AS origin, a, c ORDER BY a.q, coalesce(a.odds_ratio, a.difference) DESC, c.name
  WITH f, origin, collect(DISTINCT c.name) AS cell_types, head(collect(a)) AS a
  WHERE ($tissue = '' OR EXISTS { MATCH (f)-[b:ACTIVE_IN]->(t) WHERE t IN tissues AND b.q <= $q AND (b.origin = 'published' OR f.dictionary + ' cells ' + b.run IN current) })
    AND (size(excluded) = 0 OR NOT EXISTS { MATCH (f)-[b:ACTIVE_IN]->(d) WHERE d IN excluded AND b.q <= $q AND (b.origin = 'published' OR f.dictionary + ' cells ' + b.run IN current) })
  RETURN f, origin, cell_types, a ORDER BY a.q, coalesce(a.odds_ratio, a.difference) DESC, f.id LIMIT $limit
}
RETURN f.id AS feature, f.name AS name, f.model AS model, f.layer AS layer, cell_types, a.q AS q, a.odds_ratio AS odds_ratio, a.difference AS difference,
  a.cells AS cells, a.donors AS donors, origin, coalesce(listed.label(f), '') AS label, coalesce(f.published_label, '') AS published_label,
  COLLECT { MATCH (f)-[l:LOADS_ON]->(g:Gene) WHERE f.dictionary + ' ' + l.run IN current WITH g, min(l.rank) AS rank RETURN g.symbol ORDER BY rank LIMIT 5 } AS top_genes
ORDER BY q, coalesce(odds_ratio, difference) DESC, feature
LIMIT $limit
