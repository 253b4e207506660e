// name: attribution_against_ablation
// title: Attribution and ablation
// folder: Edges
// question: Does ablation take away what attribution adds?
// shape: table
// param run: str = "" e.g. "attribute-0123456789" -- id of an attribute run; empty: all complete ones
// param trace: str = "" e.g. "trace-0123456789" -- id of a trace run; empty: all complete ones
// param q: float = 0.05 (0..1) -- maximum q of the attribution
// param limit: int = 100 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column target: address
// column target_name: caption
// column weight: attribution: what the source adds to the target's pre-activation, with attention patterns, norms and MLP outputs held, in dictionary units of the target
// column ablation: direct + computed: mean effect on it when the source is ablated and everything reacts, in the same units
// column agrees: ablation has the opposite sign of `weight`
// column layers: layer of the target - layer of the source
// column n: cells in which the target fires and the source adds something
// column n_ablation: cells in which the source is active
// column q: q of the attribution
// column q_ablation: q of the effect of the ablation on the target's activation
// column run: id of the attribute run
// column trace: id of the trace run
// budget: $limit
// note: Where several runs have a pair, there is a row for every attribute run with every trace run: name one of each to count pairs.
// note: Only pairs that both stored are compared: strong attributions, and effects that passed the gate of the trace. Attribution is averaged over positions where the target fires, ablation over those where the source does, so the two differ in size even where they agree.
// note: The finding `attribution_and_ablation` of an attribute run has the share that agrees beside that expected by chance.

WITH $run AS wanted, $trace AS ablated
MATCH (run:Run)
WHERE run.id IN [wanted, ablated] OR (run.status = 'complete' AND ((wanted = '' AND run.verb = 'attribute') OR (ablated = '' AND run.verb = 'trace')))
WITH collect(run.id) AS runs
MATCH (s:Feature)-[r:ATTRIBUTES_TO]->(t:Feature)
WHERE r.run IN runs AND r.n IS NOT NULL AND r.q <= $q
MATCH (s)-[a:AFFECTS]->(t)
WHERE a.run IN runs AND a.direct IS NOT NULL AND a.computed IS NOT NULL
WITH s, t, r, a, a.direct + a.computed AS ablation
ORDER BY abs(r.weight) DESC, s.id, t.id, r.run, a.run LIMIT $limit
RETURN s.id AS source, s.name AS source_name, t.id AS target, t.name AS target_name,
  r.weight AS weight, ablation, sign(r.weight) * sign(ablation) < 0 AS agrees, t.layer - s.layer AS layers,
  r.n AS n, a.n AS n_ablation, r.q AS q, a.q AS q_ablation, r.run AS run, a.run AS trace
ORDER BY abs(weight) DESC, source, target, run, trace
