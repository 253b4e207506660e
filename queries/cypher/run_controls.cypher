// name: run_controls
// title: Controls of a run
// folder: Runs and controls
// question: Do the controls of this run support its edges?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// column control: zero_edit, random_direction, feature_swap, direct, direction_null, split_half, or context (an audit against exact)
// column source_layer: layer of the edit
// column target_layer: layer measured
// column sources: sampled source features
// column edges: edges of these source features by the calibrated rule; direction_null: computed edges of all sources
// column control_edges: edges of the control by the same rule and thresholds
// column ratio: control_edges / edges; near 1 the edges are not specific to the feature
// column edges_legacy: edges of these source features by the legacy rule
// column control_edges_legacy: edges of the control by the legacy rule
// column ratio_legacy: the same ratio by the legacy rule
// column max_abs_effect: largest absolute effect of the control
// column found: split_half: number of effects with p <= 0.01 in one half of the cells that can be tested in the other half
// column agreement: split_half: share of the effects found in one half that have the same sign and p <= 0.05 in the other (expected by chance: at most 0.025); direct: correlation of total and direct effect on pre-activations
// column relative_size: median over the edges of |mean of the control| / |mean|, within each source
// column larger_share: share of the edges whose mean effect is larger than that of the control
// column expected_false: direction_null: computed edges that held-out random directions give at the same threshold
// column carried: direction_null: carried edges
// column generic: direction_null: generic edges
// column draws: direction_null: random directions drawn
// column sigma_ratio: direction_null: spread over directions drawn for the source itself / spread of the pooled null (median)
// column sigma_ratio_low: the same, 5 % quantile
// column sigma_ratio_high: the same, 95 % quantile
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
  c.relative_size AS relative_size, c.larger_share AS larger_share,
  c.expected_false AS expected_false, c.carried AS carried, c.generic AS generic, c.draws AS draws,
  c.sigma_ratio AS sigma_ratio, c.sigma_ratio_low AS sigma_ratio_low, c.sigma_ratio_high AS sigma_ratio_high
ORDER BY control, source_layer, target_layer
LIMIT 1000
