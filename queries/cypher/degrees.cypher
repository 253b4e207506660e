// name: degrees
// title: Degrees at a threshold
// folder: Hubs
// question: How many features does each feature affect at this threshold?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column firing_rate: share of gene positions where it fires
// column out_degree: outgoing edges by the default rule
// column support: of these, support edges
// column suppress: of these, suppress edges
// column strict: of these, edges on which both halves of the cells agree
// column computed: outgoing computed edges
// column carried: outgoing carried edges
// column generic: outgoing generic edges
// column out_degree_legacy: outgoing edges by the legacy rule (|d| > 0.5, consistency > 0.7)
// column stored: stored edge records
// budget: $limit

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (f:Feature)-[r:AFFECTS]->(:Feature)
WHERE r.run = run.id
WITH run, f, r, rule.edge(r) AS edge,
  rule.computed(r) AS computed, rule.carried(r) AS carried, rule.generic(r) AS generic, rule.legacy(r) AS legacy
WITH run, f, count(r) AS stored, count(CASE WHEN edge THEN 1 END) AS out_degree,
  count(CASE WHEN edge AND rule.effect(r) < 0 THEN 1 END) AS support, count(CASE WHEN edge AND rule.effect(r) > 0 THEN 1 END) AS suppress,
  count(CASE WHEN edge AND r.halves = 2 THEN 1 END) AS strict,
  count(CASE WHEN computed THEN 1 END) AS computed, count(CASE WHEN carried THEN 1 END) AS carried,
  count(CASE WHEN generic THEN 1 END) AS generic, count(CASE WHEN legacy THEN 1 END) AS out_degree_legacy
ORDER BY out_degree DESC, f.id LIMIT $limit
RETURN f.id AS feature, f.name AS name, found.firing_rate(f) AS firing_rate, out_degree, support, suppress, strict, computed, carried, generic, out_degree_legacy, stored
ORDER BY out_degree DESC, feature
