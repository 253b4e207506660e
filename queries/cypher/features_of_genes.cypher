// name: features_of_genes
// title: Features of a gene list
// folder: Features
// question: Which features are about these genes?
// shape: table
// param genes: list[str] e.g. ["CD3D", "CD3E", "IL7R", "LCK"] -- gene symbols; lower case is understood
// param top: int = 20 (1..100000) -- a gene counts when it is among the feature's first so many
// param min_hits: int = 1 (1..1000) -- least genes of the list
// param cell_type: str = "" e.g. "erythroid" -- only features that fire more in a cell type with this text in its name; empty: no such condition
// param model: str = "" e.g. "scgpt-whole-human" -- model; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import whose gene lists, terms and cell types count; empty: the newest complete annotate run of each dictionary, else what was imported
// param limit: int = 20 (1..100000) -- most rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column hits: genes of the list among its top genes
// column genes: those genes, best first
// column weight: sum over those genes of 1 / log2(1 + rank): high ranks count more
// column best_rank: rank of the best one
// column listed: genes of the list known to the graph
// column of: top genes of the feature up to $top
// column label: best term
// column published_label: as published
// column hub_rank: rank by residual degree
// budget: $limit
// note: Ordered by hits, then weight. The chance of so many hits is `scipy.stats.hypergeom.sf(hits - 1, background, listed, of)`, with the number of genes that
// note: the model sees as background; correct it for the number of features. No test is better than the ranking of the genes that it starts from.

// current: of which run the gene lists and terms hold
WITH current, [x IN $genes | trim(x)] + [x IN $genes | toUpper(trim(x))] AS symbols
WITH current, symbols, COUNT { MATCH (g:Gene) WHERE g.symbol IN symbols } AS listed
CALL (current, symbols) {
  MATCH (g:Gene) WHERE g.symbol IN symbols
  MATCH (g)<-[l:LOADS_ON]-(f)
  WHERE l.rank <= $top AND f.dictionary + ' ' + l.run IN current AND ($model = '' OR f.model = $model)
  WITH f, g, min(l.rank) AS rank
  WITH f, count(g) AS hits, sum(log(2) / log(1 + rank)) AS weight, min(rank) AS best_rank
  WHERE hits >= $min_hits
    AND ($cell_type = '' OR EXISTS { MATCH (f)-[a:ACTIVE_IN]->(c:CellType) WHERE toLower(c.name) CONTAINS toLower($cell_type) AND a.q <= 0.05 AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current) })
  RETURN f, hits, weight, best_rank ORDER BY hits DESC, weight DESC, f.id LIMIT $limit
}
RETURN f.id AS feature, f.name AS name, f.layer AS layer, hits,
  COLLECT { MATCH (f)-[l:LOADS_ON]->(g:Gene) WHERE l.rank <= $top AND g.symbol IN symbols AND f.dictionary + ' ' + l.run IN current WITH g, min(l.rank) AS rank RETURN g.symbol ORDER BY rank, g.symbol } AS genes,
  weight, best_rank, listed,
  COUNT { MATCH (f)-[l:LOADS_ON]->(g:Gene) WHERE l.rank <= $top AND f.dictionary + ' ' + l.run IN current RETURN DISTINCT g } AS of,
  coalesce(f.label, '') AS label, coalesce(f.published_label, '') AS published_label, f.hub_rank AS hub_rank
ORDER BY hits DESC, weight DESC, feature
LIMIT $limit
