// name: strongest_paths
// title: Feature to feature
// folder: Paths
// question: By which way does one feature reach another?
// shape: table
// param run: run = "" -- trace run; empty: the edges of every complete trace run, so that paths can pass through several layers
// param source: feature = "" -- address; empty: the strongest hub of the run
// param target: feature = "" -- address; empty: the feature of the last layer that the source affects most
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param beam: int = 40 (1..500) -- strongest edges followed from each end for three-step paths
// param limit: int = 20 (1..100000) -- most rows
// column steps: edges of the path
// column weakest_abs_d: smallest |d| along the path, by which rows are ordered
// column effect: product of the signs: support or suppress
// column features: addresses along the path
// column names: captions along the path
// column d: d of each edge
// column q: q of each edge
// column halves: halves of the cells that agree on each edge
// column runs: run of each edge
// budget: $limit
// note: Paths of one and two steps are complete; three steps are searched among the $beam strongest edges out of the source and into the target.
// note: An edge already holds everything that flows between its ends: a longer path is a hypothesis of how, not an addition to it.

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
WITH path, weakest_abs_d, nodes(path) AS passed, relationships(path) AS edges
ORDER BY weakest_abs_d DESC, length(path), [x IN passed | x.id] LIMIT $limit
RETURN size(edges) AS steps, weakest_abs_d,
  CASE WHEN reduce(s = 1, r IN edges | s * CASE WHEN r.mean < 0 THEN 1 ELSE -1 END) > 0 THEN 'support' ELSE 'suppress' END AS effect,
  [x IN passed | x.id] AS features, [x IN passed | x.name] AS names, [r IN edges | r.d] AS d, [r IN edges | r.q] AS q,
  [r IN edges | r.halves] AS halves, [r IN edges | r.run] AS runs
