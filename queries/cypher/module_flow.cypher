// name: module_flow
// title: Module to module
// folder: Knowledge
// question: Which modules are linked to which modules of later layers more often than by chance?
// shape: table
// param model: str = "" e.g. "geneformer-v2-316m" -- name of the model; empty: all
// param min_links: int = 5 (1..100000) -- minimum number of links between two modules
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: module
// column source_name: caption
// column source_terms: most frequent terms among its features
// column target: module
// column target_name: caption
// column target_terms: most frequent terms among its features
// column source_layer: 0-based layer
// column target_layer: 0-based layer
// column links: pairs of features that co-occur, one in each module
// column expected: expected number of links if the source's module did not matter, for the same pair of layers
// column ratio: links / expected
// column mean_pmi: mean pointwise mutual information of the links
// budget: $limit
// note: Links are CO_OCCURS relationships. Where the published list was cut to the strongest links of each feature, weaker links are missing.

MATCH (m:Module)<-[:MEMBER_OF]-(a:Feature)-[h:CO_OCCURS]->(b:Feature)-[:MEMBER_OF]->(n:Module)
WHERE $model IN ['', a.model] AND a.model = b.model AND m.method = n.method
WITH a.model AS model, m, n, a.layer AS source_layer, b.layer AS target_layer, count(DISTINCT [a.id, b.id]) AS links, avg(h.pmi) AS mean_pmi
WITH model, source_layer, target_layer, collect({m: m, n: n, links: links, pmi: mean_pmi}) AS cells, sum(links) AS total
UNWIND cells AS one
WITH source_layer, target_layer, total, one, reduce(s = 0, x IN cells | s + CASE WHEN x.m = one.m THEN x.links ELSE 0 END) AS out,
  reduce(s = 0, x IN cells | s + CASE WHEN x.n = one.n THEN x.links ELSE 0 END) AS into
WITH source_layer, target_layer, one.m AS m, one.n AS n, one.links AS links, one.pmi AS mean_pmi, toFloat(out) * into / total AS expected
WHERE links >= $min_links
RETURN m.id AS source, m.name AS source_name, coalesce(m.top_terms, []) AS source_terms, n.id AS target, n.name AS target_name, coalesce(n.top_terms, []) AS target_terms,
  source_layer, target_layer, links, expected, links / expected AS ratio, mean_pmi
ORDER BY source_layer, target_layer, ratio DESC, source, target
LIMIT $limit
