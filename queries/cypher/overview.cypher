// name: overview
// title: Overview, drawn
// folder: Start here
// question: What does the map look like around its strongest hubs?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param hubs: int = 6 (1..20) -- maximum number of hubs drawn
// param edges: int = 8 (1..14) -- number of strongest edges of each hub
// column path: the path drawn
// budget: 280
// note: Hubs are ranked by residual degree if `scircuit analyse` has run, otherwise by their number of stored edges.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run) {
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  RETURN f ORDER BY found.order(f) LIMIT $hubs
}
CALL (run, f) {
  MATCH path = (f)-[r:AFFECTS]->(:Feature)
  WHERE r.run = run.id AND rule.edge(r)
  RETURN path, r ORDER BY abs(rule.rank(r)) DESC LIMIT $edges
}
RETURN path
LIMIT 280
