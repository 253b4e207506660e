// name: steered_genes
// title: Genes moved by steering
// folder: Interventions
// question: Which gene logits rise and fall when this feature is steered?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the steered feature with the steepest slope
// param q: float = 0.05 (0..1) -- maximum q of the shift
// param limit: int = 40 (1..100000) -- maximum number of rows
// column feature: address
// column coefficient: factor on its activation
// column dose: coefficient - 1
// column gene: gene token
// column effect: mean change of its logit
// column low: 95 % confidence interval, lower bound
// column high: 95 % confidence interval, upper bound
// column q: q of the shift
// column slope: slope of the readout on the dose
// column slope_control: control: slope for a random direction of equal norm
// budget: $limit

WITH $feature AS address
CALL (address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address WHERE address = ''
  MATCH (f:Feature)-[:PART_OF]->(i:Intervention) WHERE i.verb = 'steer'
  RETURN DISTINCT f ORDER BY abs(coalesce(f.steering_slope, 0)) DESC, f.id LIMIT 1
}
MATCH (f)-[:PART_OF]->(i:Intervention)-[s:SHIFTED]->(g:Gene)
WHERE i.verb = 'steer' AND s.q <= $q
OPTIONAL MATCH (:Run {id: i.run})-[x:FOUND]->(f)
RETURN f.id AS feature, i.coefficient AS coefficient, s.dose AS dose, g.symbol AS gene, s.effect AS effect, s.low AS low, s.high AS high, s.q AS q,
  x.steering_slope AS slope, x.steering_control AS slope_control
ORDER BY abs(effect) DESC, gene, coefficient
LIMIT $limit
