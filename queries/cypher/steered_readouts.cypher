// name: steered_readouts
// title: Readouts moved by steering
// folder: Interventions
// question: What does steering this feature move: pseudotime, fate, cell type, markers, loss?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: all steered features
// param q: float = 1.0 (0..1) -- maximum q of the slope over cells, which most directions pass; slopes in closed form have none and are always listed
// param p_random: float = 1.0 (0..1) -- maximum p_random: 0.05 keeps slopes that random directions do not reach; below 1 those without random directions are left out
// param limit: int = 100 (1..100000) -- maximum number of rows
// column feature: address
// column layer: layer of the feature
// column switch: on or off: more or less active in late cells
// column readout: name of the readout
// column unit: unit of a change
// column slope: slope on the dose, mean over cells
// column low: 95 % confidence interval over cells, lower bound
// column high: 95 % confidence interval over cells, upper bound
// column q: q of the sign-flip p over cells, within the run; whether cells agree, not whether the feature is special
// column p_random: (1 + random directions with a slope at least as large) / (1 + random directions)
// column control: control: size of the slopes of random directions of equal norm
// column matched: control: slope of the direction of a feature that fires as often
// column cells: number of cells
// column closed_form: fixed by a product of weights, and not tested
// column accuracy: of the probe on held-out cells or groups
// column baseline: control: the same with shuffled labels
// column run: id of the steering run
// budget: $limit

WITH $feature AS address
MATCH (f:Feature)-[s:STEERS]->(r:Readout)
WHERE (address = '' OR f.id = address) AND coalesce(s.q, 0.0) <= $q AND ($p_random >= 1 OR s.p_random <= $p_random)
OPTIONAL MATCH (:Run {id: s.run})-[x:FOUND]->(f)
RETURN f.id AS feature, f.layer AS layer, x.steering_switch AS switch, r.name AS readout, r.unit AS unit, s.slope AS slope, s.low AS low, s.high AS high,
  s.q AS q, s.p_random AS p_random, s.control AS control, s.matched AS matched, s.cells AS cells, s.closed_form AS closed_form,
  r.accuracy AS accuracy, r.baseline AS baseline, s.run AS run
ORDER BY readout, p_random, abs(slope) DESC, feature, run
LIMIT $limit
