// name: page_rank
// title: PageRank beyond degrees
// folder: Hubs
// question: Which features have a higher PageRank than graphs with the same degrees give them?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete trace run
// param q: float = 1.0 (0..1) -- maximum q of a PageRank above that of such graphs
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column in_degree: edges into the feature, by the rule of the analysis
// column pagerank: PageRank, damping 0.85
// column expected: mean PageRank in graphs in which every feature keeps its number of edges to and from every layer
// column ratio: pagerank / expected
// column p: p of a PageRank above that of such graphs
// column q: Benjamini-Hochberg q of p over the features with an edge in
// column label: label: the best term; empty when not annotated
// budget: $limit
// note: Needs the findings of `scircuit analyse`. All edges run to later layers, so a high PageRank by itself says that a feature is late and has many edges in. Features whose PageRank their degrees determine have no p and are not listed.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature) WHERE EXISTS { ()-[:AFFECTS {run: run.id}]->(f) }
WITH run, f, found.pagerank_p(f) AS p, found.pagerank_q(f) AS q
WHERE p IS NOT NULL AND q <= $q
WITH run, f, p, q, found.pagerank(f) AS pagerank, found.pagerank_expected(f) AS expected
WITH run, f, p, q, pagerank, expected ORDER BY p, pagerank / expected DESC, f.id LIMIT $limit
RETURN f.id AS feature, f.name AS name, f.layer AS layer, found.in_degree(f) AS in_degree, pagerank, expected, pagerank / expected AS ratio, p, q,
  coalesce(found.label(f), '') AS label
ORDER BY p, ratio DESC, feature
