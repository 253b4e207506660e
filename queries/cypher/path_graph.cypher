// name: path_graph
// title: Feature to feature, drawn
// folder: Paths
// question: By which way does one feature reach another?
// shape: graph
// param run: run = "" -- trace run; empty: the edges of every complete trace run, so that paths can pass through several layers
// param source: feature = "" -- address; empty: the strongest hub of the run
// param target: feature = "" -- address; empty: the feature of the last layer that the source affects most
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param beam: int = 40 (1..500) -- strongest edges followed from each end for three-step paths
// param limit: int = 25 (1..140) -- paths drawn
// column path: the path drawn
// budget: 140

WITH $run AS wanted, $source AS address, $target AS goal
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, wanted, address, goal ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH run, address WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  RETURN f ORDER BY f.hub_rank, COUNT { (f)-[:AFFECTS]->() } DESC, f.id LIMIT 1
}
CALL (run, f, goal) {
  MATCH (t:Feature {id: goal}) RETURN t
  UNION
  WITH run, f, goal WHERE goal = ''
  MATCH (f)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
  RETURN t ORDER BY t.layer DESC, abs(r.d) DESC, t.id LIMIT 1
}
CALL (run, wanted) {
  WITH run, wanted WHERE wanted <> '' RETURN [run.id] AS runs
  UNION
  WITH wanted WHERE wanted = ''
  MATCH (other:Run) WHERE other.verb = 'trace' AND other.status = 'complete'
  RETURN collect(other.id) AS runs
}
WITH f AS source, t AS target, runs
CALL (source, target, runs) {
  MATCH path = (source)-[r:AFFECTS]->(target) WHERE r.run IN runs AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
  RETURN path
  UNION
  MATCH path = (source)-[r:AFFECTS]->(:Feature)-[s:AFFECTS]->(target) WHERE r.run IN runs AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0) AND s.run IN runs AND s.q <= $q AND s.n_pos + s.n_neg >= $min_support AND abs(s.mean) >= $min_effect * coalesce(endNode(s).mean_activation, 0.0)
  RETURN path
  UNION
  CALL (source, runs) {
    MATCH (source)-[r:AFFECTS]->(m:Feature) WHERE r.run IN runs AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
    RETURN r, m ORDER BY abs(r.d) DESC LIMIT $beam
  }
  CALL (target, runs) {
    MATCH (k:Feature)-[t:AFFECTS]->(target) WHERE t.run IN runs AND t.q <= $q AND t.n_pos + t.n_neg >= $min_support AND abs(t.mean) >= $min_effect * coalesce(endNode(t).mean_activation, 0.0)
    RETURN t, k ORDER BY abs(t.d) DESC LIMIT $beam
  }
  MATCH path = (source)-[r]->(m)-[s:AFFECTS]->(k)-[t]->(target) WHERE s.run IN runs AND s.q <= $q AND s.n_pos + s.n_neg >= $min_support AND abs(s.mean) >= $min_effect * coalesce(endNode(s).mean_activation, 0.0)
  RETURN path
}
WITH path, reduce(weakest = 1.0e308, r IN relationships(path) | CASE WHEN abs(r.d) < weakest THEN abs(r.d) ELSE weakest END) AS weakest_abs_d
RETURN path
ORDER BY weakest_abs_d DESC, length(path)
LIMIT $limit
