// name: shared_downstream_graph
// title: Shared by two hubs, drawn
// folder: Paths
// question: Which features do both of these affect?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param first: feature = "" -- address; empty: the strongest hub of the run
// param second: feature = "" -- address; empty: the second strongest hub of the run
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param targets: int = 25 (1..140) -- maximum number of shared targets drawn
// column path: the path drawn
// budget: 140

WITH $run AS wanted, $first AS one, $second AS two
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run, one, two ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, one, two) {
  MATCH (f:Feature) WHERE EXISTS { (f)-[:AFFECTS {run: run.id}]->() }
  WITH run, f, CASE f.id WHEN one THEN 0 WHEN two THEN 1 ELSE 2 END AS chosen
  WHERE chosen < 2 OR one = '' OR two = ''
  WITH run, f, chosen ORDER BY chosen, found.order(f) LIMIT 2
  WITH collect(f) AS pair WHERE size(pair) = 2
  RETURN pair[0] AS first, pair[1] AS second
}
MATCH (first)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id AND rule.edge(r)
WITH run, first, second, t, r AS one
MATCH (second)-[r:AFFECTS]->(t) WHERE r.run = run.id AND rule.edge(r)
WITH first, second, t, one, r AS two
ORDER BY CASE WHEN abs(rule.rank(one)) < abs(rule.rank(two)) THEN abs(rule.rank(one)) ELSE abs(rule.rank(two)) END DESC, t.id LIMIT $targets
MATCH path = (first)-[one]->(t)<-[two]-(second)
RETURN path
LIMIT 140
