// name: features_of_genes
// title: Features of a gene list
// folder: Features
// question: Which features are about these genes?
// shape: table
// param genes: list[str] e.g. ["CD3D", "CD3E", "IL7R", "LCK"] -- gene symbols
// param top: int = 20 (1..100000) -- a gene counts when it is among the feature's first so many
// param limit: int = 20 (1..100000) -- most rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column hits: genes of the list among its top genes
// column genes: those genes, best first
// column best_rank: rank of the best one
// column listed: genes of the list known to the graph
// column label: best term
// column hub_rank: rank by residual degree
// budget: $limit

MATCH (g:Gene) WHERE g.symbol IN $genes
WITH collect(g) AS found
UNWIND found AS g
MATCH (f:Feature)-[l:LOADS_ON]->(g)
WHERE l.rank <= $top
WITH f, g, size(found) AS listed, min(l.rank) AS rank ORDER BY rank, g.symbol
WITH f, listed, collect(g.symbol) AS genes, min(rank) AS best_rank
RETURN f.id AS feature, f.name AS name, f.layer AS layer, size(genes) AS hits, genes, best_rank, listed,
  coalesce(f.label, '') AS label, f.hub_rank AS hub_rank
ORDER BY hits DESC, best_rank, feature
LIMIT $limit
