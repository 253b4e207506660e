// name: interactions
// title: Joint ablations
// folder: Interventions
// question: Which features respond to a joint ablation differently from the sum of the single ablations?
// shape: table
// param intervention: str = "" -- id of an intervention; empty: all joint ablations
// param q: float = 0.05 (0..1) -- maximum q of the interaction
// param limit: int = 30 (1..100000) -- maximum number of rows
// column intervention: id of the intervention
// column features: features ablated together
// column target: address
// column target_name: caption
// column effect: mean joint effect
// column interaction: interaction contrast of the features
// column low: 95 % confidence interval, lower bound
// column high: 95 % confidence interval, upper bound
// column q: q of the contrast
// column order: features of the contrast; of two, joint effect minus the sum of the single ones
// column computed: mean contrast of the part of the effects that the blocks compute
// column q_computed: q of `computed`
// column ratio: median |joint| / sum |single| of the intervention
// column ratio_null: control: the same ratio for exactly additive effects
// budget: $limit

MATCH (i:Intervention)-[s:SHIFTED]->(t:Feature)
WHERE $intervention IN ['', i.id] AND i.verb = 'ablate' AND i.order > 1 AND s.q <= $q
WITH i, s, t ORDER BY abs(s.interaction) DESC, i.id, t.id LIMIT $limit
RETURN i.id AS intervention, COLLECT { MATCH (f:Feature)-[:PART_OF]->(i) RETURN f.id ORDER BY f.id } AS features,
  t.id AS target, t.name AS target_name, s.effect AS effect, s.interaction AS interaction, s.low AS low, s.high AS high, s.q AS q,
  i.order AS order, s.computed AS computed, s.q_computed AS q_computed,
  i.ratio AS ratio, i.ratio_null AS ratio_null
