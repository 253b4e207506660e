// name: control_edges
// title: Edges beside controls
// folder: Runs and controls
// question: Which edges of this feature do its controls have as well?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param feature: feature = "" -- address of a sampled source feature, or its last two parts; empty: the strongest hub of the sample
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: the source
// column target: address
// column target_name: caption
// column effect: support: ablating the source lowers the target; suppress: ablating it raises the target
// column mean: mean effect of the source, in dictionary units of the target
// column d: mean / sd
// column q: q of the edge
// column random_mean: mean effect of removing a random direction of equal norm instead; 0: none
// column swap_mean: mean effect of removing another feature's direction instead; 0: none
// column specificity: |mean| / the larger |mean| of random direction and feature swap; empty where neither has an effect
// column appears_in: controls for which the calibrated rule finds the edge, with either sign
// budget: $limit
// note: Edges and controls are compared by the calibrated rule: both have a mean effect, and a control has no null of its own.
// note: Controls are run for a sample of the source features (`control_features`); other features give no rows.
// note: For every edge of a sampled feature, all controls with any effect on the target are stored, significant or not.

WITH $run AS wanted, $feature AS address
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, address ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH run, address WHERE address = ''
  MATCH (f:Feature)-[c:CONTROL_AFFECTS]->() WHERE c.run = run.id
  WITH DISTINCT run, f RETURN f ORDER BY found.order(f) LIMIT 1
}
WITH run, f WHERE EXISTS { (f)-[:CONTROL_AFFECTS {run: run.id}]->() }
MATCH (f)-[r:AFFECTS]->(t:Feature)
WHERE r.run = run.id AND rule.calibrated(r)
OPTIONAL MATCH (f)-[c:CONTROL_AFFECTS]->(t)
WHERE c.run = run.id AND c.control IN ['random_direction', 'feature_swap', 'zero_edit']
WITH f, t, r, sum(CASE c.control WHEN 'random_direction' THEN c.mean ELSE 0.0 END) AS random_mean,
  sum(CASE c.control WHEN 'feature_swap' THEN c.mean ELSE 0.0 END) AS swap_mean,
  collect(CASE WHEN rule.calibrated(c) THEN c.control END) AS found
ORDER BY abs(r.d) DESC, t.id LIMIT $limit
UNWIND CASE WHEN size(found) = 0 THEN [null] ELSE found END AS control
WITH f, t, r, random_mean, swap_mean, control ORDER BY control
WITH f, t, r, random_mean, swap_mean, collect(control) AS appears_in,
  CASE WHEN abs(random_mean) > abs(swap_mean) THEN abs(random_mean) ELSE abs(swap_mean) END AS largest
RETURN f.id AS feature, t.id AS target, t.name AS target_name, CASE WHEN r.mean < 0 THEN 'support' ELSE 'suppress' END AS effect,
  r.mean AS mean, r.d AS d, r.q AS q, random_mean, swap_mean,
  CASE WHEN largest > 0 THEN abs(r.mean) / largest END AS specificity, appears_in
ORDER BY abs(r.d) DESC, target
