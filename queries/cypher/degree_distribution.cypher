// name: degree_distribution
// title: Degree distribution
// folder: Hubs
// question: How are the out-degrees distributed?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// column layer: layer of the source features
// column degree_from: smallest degree in the bin
// column degree_to: largest degree in the bin
// column features: traced features in the bin
// column share_at_least: share of traced features with degree_from or more edges
// budget: 500
// note: Bins double: 0, 1, 2-3, 4-7, ... The report compares a power law with its alternatives.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (run)-[x:FOUND]->(f:Feature) WHERE x.traced
WITH f, COUNT { (f)-[r:AFFECTS]->() WHERE r.run = run.id } AS stored,
  COUNT { (f)-[r:AFFECTS]->() WHERE r.run = run.id AND rule.edge(r) } AS degree
WITH f.dictionary AS dictionary, f.layer AS layer, sum(stored) AS total, collect(degree) AS degrees
WHERE total > 0
UNWIND degrees AS degree
WITH layer, degrees, CASE degree WHEN 0 THEN 0 ELSE toInteger(2 ^ floor(log(degree) / log(2) + 0.000000001)) END AS degree_from
WITH layer, degrees, degree_from, count(*) AS features
RETURN layer, degree_from, CASE degree_from WHEN 0 THEN 0 ELSE 2 * degree_from - 1 END AS degree_to, features,
  toFloat(size([x IN degrees WHERE x >= degree_from])) / size(degrees) AS share_at_least
ORDER BY layer, degree_from
LIMIT 500
