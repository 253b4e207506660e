// name: feature_circuit
// title: Neighbourhood, drawn
// folder: Features
// question: What feeds this feature, and what does it drive?
// shape: graph
// param run: run = "" -- trace run; empty: the newest complete one
// param feature: feature = "" -- address, or its last two parts; empty: the strongest hub of the run
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param edges: int = 15 (1..140) -- strongest edges in, and as many out
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
  RETURN f ORDER BY f.hub_rank, COUNT { (f)-[:AFFECTS]->() } DESC, f.id LIMIT 1
}
CALL (run, f) {
  MATCH path = (f)-[r:AFFECTS]->(:Feature)
  WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
  RETURN path ORDER BY abs(r.d) DESC LIMIT $edges
  UNION ALL
  MATCH path = (:Feature)-[r:AFFECTS]->(f)
  WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
  RETURN path ORDER BY abs(r.d) DESC LIMIT $edges
}
RETURN path
LIMIT 280
