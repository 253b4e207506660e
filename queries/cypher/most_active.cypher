// name: most_active
// title: Most active features
// folder: Hubs
// question: Which features fire most, and does their firing rate explain their degree?
// shape: table
// param layer: int = -1 (-1..999) -- 0-based layer; -1: all
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column layer: 0-based layer
// column firing_rate: share of gene positions where it fires
// column cells_active: cells with an active position
// column mean_activation: mean activation over active positions
// column out_degree: outgoing edges, by the rule of the analysis
// column expected_degree: out-degree expected from the firing rate
// column hub_rank: rank by residual degree (1: strongest hub for its firing rate)
// column label: label: the best term
// note: Firing rates are those of the newest trace run of each feature, and degrees those of its analysis.
// budget: $limit

MATCH (f:Feature)
WHERE f.firing_rate IS NOT NULL AND $layer IN [-1, f.layer]
WITH f ORDER BY f.firing_rate DESC, f.id LIMIT $limit
OPTIONAL MATCH (run:Run {id: f.activation_run})
RETURN f.id AS feature, f.name AS name, f.layer AS layer, f.firing_rate AS firing_rate, f.cells_active AS cells_active, f.mean_activation AS mean_activation,
  CASE WHEN run IS NULL THEN f.out_degree ELSE found.out_degree(f) END AS out_degree,
  CASE WHEN run IS NULL THEN f.expected_degree ELSE found.expected_degree(f) END AS expected_degree,
  CASE WHEN run IS NULL THEN f.hub_rank ELSE found.hub_rank(f) END AS hub_rank, coalesce(f.label, '') AS label
ORDER BY firing_rate DESC, feature
