// name: attributed_features
// title: Features taken apart
// folder: Features
// question: How much of a feature is explained?
// shape: table
// param run: str = "" e.g. "attribute-0123456789" -- id of an attribute run; empty: all complete ones
// param limit: int = 150 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: layer of the feature
// column attributed: pre-activation that was taken apart: mean over the positions of a cell where the feature fires, then over cells, in dictionary units; the parts after it add up to it
// column edges: part from the sources of stored edges
// column remainder: part from all other features
// column errors: part from what the transcoders do not reconstruct, and from layers without one
// column embeddings: part from token embeddings
// column biases: part from biases
// column gap: largest difference of sum and value over the positions, relative to the sum of absolute contributions: rounding
// column run: id of the attribute run
// budget: $limit
// note: A feature has one row for each run that took it apart. Parts can be negative, so that one of them may be larger than the whole.
// note: `attributed_edges` has the stored edges of a feature.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'attribute' AND run.status = 'complete')
MATCH (run)-[told:FOUND]->(f:Feature)
WHERE told.attributed IS NOT NULL
RETURN f.id AS feature, f.name AS name, f.layer AS layer, told.attributed AS attributed,
  told.attribution_edges AS edges, told.attribution_remainder AS remainder, told.attribution_errors AS errors,
  told.attribution_embeddings AS embeddings, told.attribution_biases AS biases, told.attribution_gap AS gap, run.id AS run
ORDER BY attributed DESC, feature, run
LIMIT $limit
