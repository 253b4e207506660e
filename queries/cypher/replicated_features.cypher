// name: replicated_features
// title: Features that replicate
// folder: Hubs
// question: Which features have many edges that a comparison found in the other run too?
// shape: table
// param run: run = "" -- id of a comparison; empty: the newest complete one
// param min_edges: int = 10 (1..100000) -- minimum number of compared edges
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column compared: out-edges that the other run could have found too
// column replicated: those of them that it has
// column share: replicated / compared
// column run: comparison
// budget: $limit
// note: Needs `scircuit compare`. How many edges replicate by chance is in its findings, not in single features.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'compare' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (run)-[told:FOUND]->(f:Feature)
WHERE told.compared_degree >= $min_edges
WITH run, told, f ORDER BY told.replicated_degree DESC, told.compared_degree, f.id LIMIT $limit
RETURN f.id AS feature, f.name AS name, f.layer AS layer, told.compared_degree AS compared, told.replicated_degree AS replicated,
  1.0 * told.replicated_degree / told.compared_degree AS share, run.id AS run
ORDER BY replicated DESC, compared, feature
