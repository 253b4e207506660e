// name: controls_at_threshold
// title: Controls at a threshold
// folder: Runs and controls
// question: How many edges do the sampled features and each of their controls have at a chosen threshold?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// column control: random_direction, feature_swap or zero_edit; half_even and half_odd: the source features themselves in every other cell
// column source_layer: layer of the edit
// column target_layer: layer measured
// column sources: sampled source features
// column edges: edges of these source features
// column control_edges: edges of the control by the same rule
// column ratio: control_edges / edges
// column shared: edges that the control has as well
// column shared_sign: of the shared, with the same sign
// budget: 1000
// note: Edges and controls are compared by the calibrated rule: a control has a mean effect and no null of its own. How many computed edges random directions would have is `expected_false` of `run_controls`.
// note: Counts are exact up to the p at which tests are stored (`gate_p`). A zero edit without rows has no effect above the numeric floor.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[c:CONTROL_AFFECTS]->(t:Feature)
WHERE c.run = run.id
WITH run, s.layer AS source_layer, t.layer AS target_layer, collect(DISTINCT s) AS found
WITH run, source_layer, collect(target_layer) AS target_layers, collect(found) AS lists
CALL (lists) { UNWIND lists AS list UNWIND list AS s RETURN collect(DISTINCT s) AS sampled }
UNWIND target_layers AS target_layer
CALL (run, sampled, target_layer) {
  UNWIND sampled AS s
  MATCH (s)-[r:AFFECTS]->(t:Feature {layer: target_layer})
  WHERE r.run = run.id AND rule.calibrated(r)
  RETURN count(r) AS edges
}
CALL (run, sampled, target_layer) {
  UNWIND sampled AS s
  MATCH (s)-[c:CONTROL_AFFECTS]->(t:Feature {layer: target_layer}) WHERE c.run = run.id
  WITH run, s, c, t, rule.calibrated(c) AS edge
  OPTIONAL MATCH (s)-[r:AFFECTS]->(t)
  WHERE edge AND r.run = run.id AND rule.calibrated(r)
  RETURN c.control AS control, count(CASE WHEN edge THEN 1 END) AS control_edges, count(r) AS shared,
    count(CASE WHEN r.mean * c.mean > 0 THEN 1 END) AS shared_sign
}
RETURN control, source_layer, target_layer, size(sampled) AS sources, edges, control_edges,
  CASE WHEN edges > 0 THEN toFloat(control_edges) / edges END AS ratio, shared, shared_sign
ORDER BY control, source_layer, target_layer
LIMIT 1000
