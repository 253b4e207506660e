// name: feature_circuit
// title: Neighbourhood, drawn
// folder: Features
// question: Which features drive this one, and which does it drive?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param feature: feature = "" -- address, or its last two parts; empty: the strongest hub of the run
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param edges: int = 15 (1..140) -- number of strongest incoming edges, and of outgoing edges
// column path: the path drawn
// budget: 280

WITH $run AS wanted, $feature AS address
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, address ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH run, address WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  RETURN f ORDER BY found.order(f) LIMIT 1
}
CALL (run, f) {
  MATCH path = (f)-[r:AFFECTS]->(:Feature)
  WHERE r.run = run.id AND rule.edge(r)
  RETURN path ORDER BY abs(rule.rank(r)) DESC LIMIT $edges
  UNION ALL
  MATCH path = (:Feature)-[r:AFFECTS]->(f)
  WHERE r.run = run.id AND rule.edge(r)
  RETURN path ORDER BY abs(rule.rank(r)) DESC LIMIT $edges
}
RETURN path
LIMIT 280
