// name: shared_downstream
// title: Shared by two hubs
// folder: Paths
// question: Which features do both of these affect, and are they more than expected by chance?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param first: feature = "" -- address; empty: the strongest hub of the run
// param second: feature = "" -- address; empty: the second strongest hub of the run
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 30 (1..100000) -- maximum number of rows
// column first: address
// column second: address
// column target: address
// column target_name: caption
// column first_strength: d of the first feature on the target; z_computed where edges are computed edges
// column second_strength: the same of the second feature
// column same_sign: true where both change it in the same direction
// column weaker: the smaller of the two |strength|, by which rows are ordered
// column shared: total number of shared targets
// column expected: shared targets expected if both had their targets at random among the live features of those layers
// budget: $limit

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
CALL (run, first) {
  MATCH (first)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id AND rule.edge(r)
  RETURN count(r) AS first_degree, collect(DISTINCT t.dictionary) AS measured
}
CALL (run, second) {
  MATCH (second)-[r:AFFECTS]->() WHERE r.run = run.id AND rule.edge(r)
  RETURN count(r) AS second_degree
}
CALL (run, measured) {
  MATCH (run)-[x:FOUND]->(t:Feature) WHERE t.dictionary IN measured AND x.alive RETURN count(t) AS live
}
CALL (run, first, second) {
  MATCH (first)-[r:AFFECTS]->(t:Feature) WHERE r.run = run.id AND rule.edge(r)
  WITH run, second, t, rule.rank(r) AS first_strength
  MATCH (second)-[r:AFFECTS]->(t) WHERE r.run = run.id AND rule.edge(r)
  RETURN collect({t: t, first_strength: first_strength, second_strength: rule.rank(r)}) AS rows
}
UNWIND rows AS row
RETURN first.id AS first, second.id AS second, row.t.id AS target, row.t.name AS target_name, 
  row.first_strength AS first_strength, row.second_strength AS second_strength,
  sign(row.first_strength) = sign(row.second_strength) AS same_sign,
  CASE WHEN abs(row.first_strength) < abs(row.second_strength) THEN abs(row.first_strength) ELSE abs(row.second_strength) END AS weaker,
  size(rows) AS shared, CASE WHEN live > 0 THEN toFloat(first_degree) * second_degree / live END AS expected
ORDER BY weaker DESC, target
LIMIT $limit
