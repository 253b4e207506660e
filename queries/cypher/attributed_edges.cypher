// name: attributed_edges
// title: Strongest attributions
// folder: Edges
// question: What is the pre-activation of a feature made of?
// shape: table
// param run: str = "" e.g. "attribute-0123456789" -- id of an attribute run; empty: all complete ones
// param target: feature = "" -- address of the target, or its last two parts; empty: all targets
// param q: float = 0.05 (0..1) -- maximum q of the attribution
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column target: address
// column target_name: caption
// column weight: mean over n cells of what the source adds to the target's pre-activation, with attention patterns, norms and MLP outputs held, in dictionary units of the target; below 0 it takes from it
// column sd: standard deviation of that over the n cells; empty where n is 1
// column n: cells in which the target fires and the source adds something
// column n_pos: cells in which the source adds to the target
// column n_neg: cells in which the source takes from the target
// column p: sign-flip p over the n cells
// column q: q over all pairs that the run attributed, those it did not store included
// column same_token: part of `weight` that comes from the target's own position
// column invariant: factor of that part that is the same for every input: the source's decoder along the target's encoder
// column factor: same_token / invariant, the part that depends on the input; empty where other paths join at the same token, or `invariant` is 0
// column run: id of the attribute run
// budget: $limit
// note: An edge has one row for each run that attributed it. `imported_edges` has the attributions of imported graphs.
// note: `attributed_features` has what else the pre-activation is made of, and `attribution_against_ablation` what ablation says of the same edges.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'attribute' AND run.status = 'complete')
WITH collect(run.id) AS runs
MATCH (s:Feature)-[r:ATTRIBUTES_TO]->(t:Feature)
WHERE r.run IN runs AND r.n IS NOT NULL AND r.q <= $q AND $target IN ['', t.id]
WITH s, r, t ORDER BY abs(r.weight) DESC, s.id, t.id, r.run LIMIT $limit
RETURN s.id AS source, s.name AS source_name, t.id AS target, t.name AS target_name,
  r.weight AS weight, r.sd AS sd, r.n AS n, r.n_pos AS n_pos, r.n_neg AS n_neg, r.p AS p, r.q AS q,
  r.same_token AS same_token, r.invariant AS invariant, r.factor AS factor, r.run AS run
ORDER BY abs(weight) DESC, source, target, run
