// name: circuit_modules
// title: Modules of a circuit
// folder: Hubs
// question: Into which modules do the edges of a run fall, and what are their features about?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete trace run
// param limit: int = 50 (1..100000) -- maximum number of rows
// column module: id of the module
// column name: caption
// column size: number of features
// column layers: layers of its features
// column edges_inside: edges between two of its features
// column edges_touching: edges that begin or end in it
// column inside_share: edges_inside / edges_touching
// column top_terms: most frequent terms of its features
// column examples: captions of up to five features, those with the highest out-degree first
// column method: how the modules were found
// column analysis: the analysis that found them
// budget: $limit
// note: Of the newest analysis of the run that found modules. An analysis writes modules only where the edges have more of them than graphs with the same degrees.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (a:Run {verb: 'analyse', status: 'complete'})-[:FROM]->(run)
MATCH (m:Module) WHERE m.run = a.id
WITH run, a, collect(m) AS modules ORDER BY a.started DESC, a.id DESC LIMIT 1
UNWIND modules AS m
WITH run, a, m ORDER BY m.size DESC, m.id LIMIT $limit
CALL (run, m) {
  MATCH (f:Feature)-[:MEMBER_OF]->(m)
  WITH f ORDER BY coalesce(found.out_degree(f), 0) DESC, f.id LIMIT 5
  RETURN collect(f.name) AS examples
}
RETURN m.id AS module, m.name AS name, m.size AS size, coalesce(m.layers, [m.layer]) AS layers, m.edges_inside AS edges_inside,
  m.edges_touching AS edges_touching, CASE WHEN m.edges_touching > 0 THEN toFloat(m.edges_inside) / m.edges_touching END AS inside_share,
  coalesce(m.top_terms, []) AS top_terms, examples, m.method AS method, a.id AS analysis
ORDER BY size DESC, module
