// name: replicated_edges
// title: Edges in two runs
// folder: Edges
// question: Which edges of one run are edges of the same sign in another run with the same dictionaries?
// shape: table
// param first: str = "" e.g. "trace-0123456789" -- a trace run; empty: the newest complete one but one
// param second: str = "" e.g. "trace-9876543210" -- another trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 100 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column target: address
// column target_name: caption
// column effect_first: effect in the first run; below 0 the source supports the target
// column effect_second: effect in the second run
// column n_first: cells of the first run in which the source is active
// column n_second: cells of the second run in which it is
// budget: $limit
// note: How many edges replicate by chance, and which belong to one cohort, is told by `scircuit compare`.

CALL () {
  MATCH (r:Run {verb: 'trace', status: 'complete'})
  WITH r ORDER BY r.started DESC, r.id DESC LIMIT 2
  RETURN collect(r.id) AS newest
}
WITH CASE WHEN $first = '' THEN newest[1] ELSE $first END AS one, CASE WHEN $second = '' THEN newest[0] ELSE $second END AS two
MATCH (s:Feature)-[a:AFFECTS]->(t:Feature)
WHERE a.run = one AND rule.edge(a)
MATCH (s)-[b:AFFECTS]->(t)
WHERE b.run = two AND rule.edge(b) AND sign(rule.effect(a)) = sign(rule.effect(b))
WITH s, t, a, b, rule.effect(a) AS effect_first, rule.effect(b) AS effect_second, abs(rule.rank(a)) AS x, abs(rule.rank(b)) AS y
ORDER BY CASE WHEN x < y THEN x ELSE y END DESC, s.id, t.id LIMIT $limit
RETURN s.id AS source, s.name AS source_name, t.id AS target, t.name AS target_name, effect_first, effect_second, a.n AS n_first, b.n AS n_second
ORDER BY CASE WHEN x < y THEN x ELSE y END DESC, source, target
LIMIT $limit
