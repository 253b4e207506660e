// name: run_controls
// title: Controls of a run
// folder: Runs and controls
// question: Do the controls of this run support its edges?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// column control: zero_edit, random_direction, feature_swap, passthrough, split_half, or context (an audit against exact)
// column source_layer: layer of the edit
// column target_layer: layer measured
// column sources: sampled source features
// column edges: edges of these source features by the calibrated rule
// column control_edges: edges of the control by the same rule and thresholds
// column ratio: control_edges / edges; near 1 the edges are not specific to the feature
// column edges_legacy: edges of these source features by the legacy rule
// column control_edges_legacy: edges of the control by the legacy rule
// column ratio_legacy: the same ratio by the legacy rule
// column max_abs_effect: largest absolute effect of the control
// column found: split_half: number of effects with p <= 0.01 in one half of the cells that can be tested in the other half
// column agreement: split_half: share of the effects found in one half that have the same sign and p <= 0.05 in the other (expected by chance: at most 0.025); passthrough: correlation with the effect
// column relative_size: median over the edges of |mean of the control| / |mean|, within each source
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
