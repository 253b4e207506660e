// name: path_graph
// title: Feature to feature, drawn
// folder: Paths
// question: Through which features does one feature affect another?
// shape: graph
// param run: run = "" -- id of a trace run; empty: edges of all complete trace runs, so that paths can pass through several layers
// param source: feature = "" -- address; empty: the strongest hub of the run
// param target: feature = "" -- address; empty: the feature in the last layer on which the source has the strongest effect
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 25 (1..140) -- maximum number of paths drawn
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
  RETURN f ORDER BY found.order(f) LIMIT 1
}
CALL (run, f, goal) {
  MATCH (t:Feature {id: goal}) RETURN t
  UNION
  WITH run, f, goal WHERE goal = ''
  MATCH (f)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id AND rule.edge(r)
  RETURN t ORDER BY t.layer DESC, abs(rule.rank(r)) DESC, t.id LIMIT 1
}
CALL (run, wanted) {
  WITH run, wanted WHERE wanted <> '' RETURN [run.id] AS runs
  UNION
  WITH wanted WHERE wanted = ''
  MATCH (other:Run) WHERE other.verb = 'trace' AND other.status = 'complete'
  RETURN collect(other.id) AS runs
}
WITH f AS source, t AS target, runs
// A bound for the answer: that many paths are at least this strong, so a path with a weaker edge is none of the strongest.
CALL (source, target, runs) {
  CALL (source, target, runs) {
    MATCH (source)-[r:AFFECTS]->(target) WHERE r.run IN runs AND rule.edge(r)
    RETURN abs(rule.rank(r)) AS weakest
    UNION ALL
    MATCH (source)-[r:AFFECTS]->(:Feature)-[s:AFFECTS]->(target) WHERE r.run IN runs AND rule.edge(r) AND s.run IN runs AND rule.edge(s)
    RETURN CASE WHEN abs(rule.rank(r)) < abs(rule.rank(s)) THEN abs(rule.rank(r)) ELSE abs(rule.rank(s)) END AS weakest
    UNION ALL
    CALL (source, runs) {
      MATCH (source)-[r:AFFECTS]->(m:Feature) WHERE r.run IN runs AND rule.edge(r)
      RETURN r, m ORDER BY abs(rule.rank(r)) DESC LIMIT 40
    }
    CALL (target, runs) {
      MATCH (k:Feature)-[t:AFFECTS]->(target) WHERE t.run IN runs AND rule.edge(t)
      RETURN t, k ORDER BY abs(rule.rank(t)) DESC LIMIT 40
    }
    MATCH (m)-[s:AFFECTS]->(k) WHERE s.run IN runs AND rule.edge(s)
    RETURN reduce(weakest = abs(rule.rank(r)), x IN [abs(rule.rank(s)), abs(rule.rank(t))] | CASE WHEN x < weakest THEN x ELSE weakest END) AS weakest
  }
  WITH weakest ORDER BY weakest DESC LIMIT $limit
  WITH collect(weakest) AS strongest
  RETURN CASE WHEN size(strongest) = $limit THEN strongest[-1] ELSE 0.0 END AS bound
}
CALL (source, target, runs, bound) {
  MATCH path = (source)-[r:AFFECTS]->(target) WHERE r.run IN runs AND abs(rule.rank(r)) >= bound AND rule.edge(r)
  RETURN path
  UNION
  MATCH path = (source)-[r:AFFECTS]->(:Feature)-[s:AFFECTS]->(target)
  WHERE r.run IN runs AND abs(rule.rank(r)) >= bound AND rule.edge(r) AND s.run IN runs AND abs(rule.rank(s)) >= bound AND rule.edge(s)
  RETURN path
  UNION
  CALL (source, runs, bound) {
    MATCH (source)-[r:AFFECTS]->(m:Feature) WHERE r.run IN runs AND abs(rule.rank(r)) >= bound AND rule.edge(r)
    RETURN r, m
  }
  CALL (m, runs, bound) {
    MATCH (m)-[s:AFFECTS]->(k:Feature) WHERE s.run IN runs AND abs(rule.rank(s)) >= bound AND rule.edge(s)
    RETURN s, k
  }
  MATCH path = (source)-[r]->(m)-[s]->(k)-[t:AFFECTS]->(target) WHERE t.run IN runs AND abs(rule.rank(t)) >= bound AND rule.edge(t)
  RETURN path
}
WITH path, reduce(weakest = 1.0e308, r IN relationships(path) | CASE WHEN abs(rule.rank(r)) < weakest THEN abs(rule.rank(r)) ELSE weakest END) AS weakest
RETURN path
ORDER BY weakest DESC, length(path)
LIMIT $limit
