// name: imported_edges
// title: Imported edges
// folder: Edges
// question: Which are the strongest edges of a published study, with the published statistics?
// shape: table
// param run: str = "" e.g. "import-0123456789" -- id of an imported run; empty: the newest with edges
// param source_layer: int = -1 (-1..999) -- 0-based layer of the source; -1: all
// param target_layer: int = -1 (-1..999) -- 0-based layer of the target; -1: all
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column target: address
// column target_name: caption
// column effect: support or suppress; empty where the effect is not that of an ablation
// column d: mean / sd, as published
// column mean: mean effect, as published
// column weight: attribution weight, as published
// column consistency: sign consistency, as published
// column n: number of cells; empty: not given
// column n_pos: cells whose target rises; empty: not given
// column n_neg: cells whose target falls; empty: not given
// column p: p; empty: not given
// column q: q; empty: not given
// column cap: maximum number of edges that the study kept for each source feature and layer; 0: all were kept
// column lacks: what the published files do not give
// budget: $limit
// note: An empty value is unknown, not zero. Where a study kept a limited number of edges, the degree of a feature is unknown.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.method = 'imported' AND (run.id = wanted OR (wanted = '' AND EXISTS { MATCH (:Feature)-[x:AFFECTS|ATTRIBUTES_TO]->() WHERE x.run = run.id }))
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (s:Feature)-[r:AFFECTS|ATTRIBUTES_TO]->(t:Feature)
WHERE r.run = run.id AND $source_layer IN [-1, s.layer] AND $target_layer IN [-1, t.layer]
WITH run, s, r, t ORDER BY abs(coalesce(r.d, r.mean, r.weight)) DESC, s.id, t.id LIMIT $limit
RETURN s.id AS source, s.name AS source_name, t.id AS target, t.name AS target_name,
  CASE WHEN r.weight IS NOT NULL OR coalesce(r.d, r.mean) IS NULL THEN '' WHEN coalesce(r.d, r.mean) < 0 THEN 'support' ELSE 'suppress' END AS effect,
  r.d AS d, CASE WHEN r.weight IS NULL THEN r.mean END AS mean, r.weight AS weight, r.consistency AS consistency, r.n AS n, r.n_pos AS n_pos, r.n_neg AS n_neg, r.p AS p, r.q AS q,
  coalesce(run.cap, 0) AS cap, coalesce(run.lacks, []) AS lacks
