// name: run_controls
// title: Controls of a run
// folder: Runs and controls
// question: Could a control refute the edges of this run?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// column control: zero_edit, random_direction, feature_swap, passthrough, split_half, or context (an audit against exact)
// column source_layer: layer of the edit
// column target_layer: layer measured
// column sources: source features sampled
// column edges: edges of these sources, calibrated rule
// column control_edges: edges of the control, same rule and threshold
// column ratio: control_edges / edges: near 1 the edges say nothing about the feature
// column edges_legacy: edges of these sources, legacy rule
// column control_edges_legacy: edges of the control, legacy rule
// column ratio_legacy: the same ratio by the legacy rule
// column max_abs_effect: largest effect of the control
// column found: split_half: effects with p <= 0.01 in one half of the cells that the other half can test
// column agreement: split_half: share of the found with the same sign and p <= 0.05 in the other half (at most 0.025 by chance); passthrough: correlation with the effect
// column relative_size: median of |mean of the control| / |mean| over the edges, source by source
// column larger_share: share of the edges whose mean effect is larger than that of the control
// budget: 1000

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (c:Control)
WHERE c.run = run.id OR EXISTS { (c)-[:FROM]->(run) }
RETURN c.control AS control, c.source_layer AS source_layer, c.target_layer AS target_layer, c.sources AS sources, c.edges AS edges,
  c.control_edges AS control_edges, CASE WHEN c.edges > 0 THEN toFloat(c.control_edges) / c.edges END AS ratio,
  c.edges_legacy AS edges_legacy, c.control_edges_legacy AS control_edges_legacy,
  CASE WHEN c.edges_legacy > 0 THEN toFloat(c.control_edges_legacy) / c.edges_legacy END AS ratio_legacy,
  c.max_abs_effect AS max_abs_effect, c.found AS found, c.agreement AS agreement,
  c.relative_size AS relative_size, c.larger_share AS larger_share
ORDER BY control, source_layer, target_layer
LIMIT 1000
