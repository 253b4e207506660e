// name: coherent_features
// title: Features by coherence
// folder: Hubs
// question: Whose targets share terms with it more often than targets that are annotated alike?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete trace run
// param min_edges: int = 10 (1..100000) -- minimum number of out-edges
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column out_degree: outgoing edges, by the rule of its analysis
// column coherence: share of its out-edges to annotated features whose target shares a specific term with it
// column expected: the same share with targets of the same layer, firing rate and number of terms
// column excess: coherence - expected
// column label: label: the best term; empty when not annotated
// budget: $limit
// note: Needs the findings of `scircuit analyse` on an annotated run. Single features are ranked, not tested: the test of all edges together is the finding `coherence`.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
WITH run, f, found.coherence(f) AS coherence, found.coherence_expected(f) AS expected, found.out_degree(f) AS out_degree
WHERE coherence IS NOT NULL AND out_degree >= $min_edges
WITH run, f, coherence, expected, out_degree ORDER BY coherence - expected DESC, f.id LIMIT $limit
RETURN f.id AS feature, f.name AS name, f.layer AS layer, out_degree, coherence, expected, coherence - expected AS excess,
  coalesce(found.label(f), '') AS label
ORDER BY excess DESC, feature
