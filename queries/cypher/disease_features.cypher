// name: disease_features
// title: Features of a disease set
// folder: Knowledge
// question: Which features have genes of a disease set, and what is their place in the circuit?
// shape: table
// param run: run = "" -- id of a predict run; empty: the newest complete one with disease sets
// param disease: str = "" e.g. "anaemia" -- part of the set's name; empty: all
// param q: float = 0.05 (0..1) -- maximum q of the set
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column model: name of the model
// column layer: 0-based layer
// column disease: disease set with the smallest p in its top genes
// column q: Benjamini-Hochberg q over all features and sets
// column out_degree: outgoing edges, by the rule of its analysis
// column residual_degree: log((out_degree + 1) / (expected_degree + 1))
// column hub_rank: rank by residual degree; empty if it was not ablated
// column top_genes: top genes
// column run: predict run that found the set
// budget: $limit
// note: Needs `scircuit predict --disease FILE`. Whether such features sit at higher degree, or are linked among themselves, than features that fire as often is tested there.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'predict' AND run.status = 'complete' AND EXISTS {
  MATCH (run)-[any:FOUND]->(:Feature) WHERE any.prediction_run IS NOT NULL
})
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (run)-[told:FOUND]->(f:Feature)
WHERE told.disease IS NOT NULL AND told.disease_q <= $q AND toLower(told.disease) CONTAINS toLower($disease)
WITH run, told, f ORDER BY told.disease_q, f.id LIMIT $limit
RETURN f.id AS feature, f.name AS name, f.model AS model, f.layer AS layer, told.disease AS disease, told.disease_q AS q,
  f.out_degree AS out_degree, f.residual_degree AS residual_degree, f.hub_rank AS hub_rank, f.top_genes AS top_genes,
  run.id AS run
