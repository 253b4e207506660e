// name: consensus_pairs
// title: Domain pairs in two runs
// folder: Knowledge
// question: Which pairs of labels does an edge join in both of two runs?
// shape: table
// param first: str = "" e.g. "trace-0123456789" -- a trace run; empty: the newest complete one but one
// param second: str = "" e.g. "trace-9876543210" -- another trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param limit: int = 100 (1..100000) -- maximum number of rows
// column source_label: label of the sources
// column target_label: label of the targets
// column edges_first: edges of the first run that join the two
// column edges_second: edges of the second run that do
// budget: $limit
// note: Common pairs are expected by chance where labels are frequent: `scircuit compare` sets them beside random targets and rewired edges.

CALL () {
  MATCH (r:Run {verb: 'trace', status: 'complete'})
  WITH r ORDER BY r.started DESC, r.id DESC LIMIT 2
  RETURN collect(r.id) AS newest
}
WITH [CASE WHEN $first = '' THEN newest[1] ELSE $first END, CASE WHEN $second = '' THEN newest[0] ELSE $second END] AS wanted
UNWIND [0, 1] AS place
MATCH (run:Run {id: wanted[place]})
MATCH (f:Feature)-[r:AFFECTS]->(g:Feature)
WHERE r.run = run.id AND rule.edge(r)
WITH place, run, f, collect(g) AS targets
WITH place, run, targets, found.label(f) AS source_label
WHERE coalesce(source_label, '') <> ''
UNWIND targets AS g
WITH place, run, g, source_label, count(*) AS edges
WITH place, source_label, edges, found.label(g) AS target_label
WHERE coalesce(target_label, '') <> ''
WITH source_label, target_label, sum(CASE WHEN place = 0 THEN edges ELSE 0 END) AS edges_first, sum(CASE WHEN place = 1 THEN edges ELSE 0 END) AS edges_second
WHERE edges_first > 0 AND edges_second > 0
RETURN source_label, target_label, edges_first, edges_second
ORDER BY CASE WHEN edges_first < edges_second THEN edges_first ELSE edges_second END DESC, source_label, target_label
LIMIT $limit
