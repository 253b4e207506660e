// name: features_of_genes
// title: Features of a gene list
// folder: Features
// question: Which features are about these genes?
// shape: table
// param genes: list[str] e.g. ["CD3D", "CD3E", "IL7R", "LCK"] -- gene symbols, in upper or lower case
// param top: int = 20 (1..100000) -- number of top genes of each feature to use
// param min_hits: int = 1 (1..1000) -- minimum number of genes of the list
// param cell_type: str = "" e.g. "erythroid" -- only features that fire more in a cell type whose name contains this text; empty: all features
// param model: str = "" e.g. "scgpt-whole-human" -- name of the model; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column hits: number of genes of the list among its top genes
// column genes: these genes, highest rank first
// column weight: sum over these genes of 1 / log2(1 + rank), so that high ranks count more
// column best_rank: rank of the best of these genes
// column listed: number of genes of the list that are in the graph
// column of: number of top genes of the feature, at most $top
// column label: label: the best term
// column published_label: label as published
// column hub_rank: rank by residual degree in the newest analysis; empty: not ranked
// budget: $limit
// note: Rows are ordered by hits, then weight. The p value of so many hits is `scipy.stats.hypergeom.sf(hits - 1, background, listed, of)`, with `background` the
// note: number of genes that the model sees; correct it for the number of features. The test can be no better than the gene ranking it starts from.

// current: the runs whose gene lists and terms are used
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
  coalesce(listed.label(f), '') AS label, coalesce(f.published_label, '') AS published_label, f.hub_rank AS hub_rank
ORDER BY hits DESC, weight DESC, feature
LIMIT $limit
