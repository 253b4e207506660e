// name: feature_interventions
// title: Ablation and steering
// folder: Interventions
// question: What did joint ablation and steering of this feature show?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the feature with most interventions
// param limit: int = 50 (1..100000) -- maximum number of rows
// column feature: address
// column intervention: id of the intervention
// column name: caption
// column verb: ablate or steer
// column role: its role
// column coefficient: factor on its activation; 0 is ablation
// column partners: features changed together with it
// column cells: number of cells
// column tested: number of targets tested
// column significant: targets significant at the run's q
// column ratio: median |joint| / sum |single|
// column ratio_null: control: the same ratio for exactly additive effects on the same cells
// column effect: mean change of the readout
// column effect_low: 95 % confidence interval, lower bound
// column effect_high: 95 % confidence interval, upper bound
// column p: p of the readout
// column control: control: mean of the same readout over random directions of equal norm; as they have either sign it is smaller than any of them
// column control_size: control: size of the change by one random direction (root mean square)
// budget: $limit

WITH $feature AS address
CALL (address) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address WHERE address = ''
  MATCH (f:Feature)-[:PART_OF]->(i:Intervention)
  WITH f, count(DISTINCT i) AS n
  RETURN f ORDER BY n DESC, f.hub_rank, f.id LIMIT 1
}
MATCH (f)-[part:PART_OF]->(i:Intervention)
RETURN f.id AS feature, i.id AS intervention, i.name AS name, i.verb AS verb, part.role AS role, coalesce(part.coefficient, i.coefficient) AS coefficient,
  COLLECT { MATCH (other:Feature)-[:PART_OF]->(i) WHERE other <> f RETURN other.id ORDER BY other.id } AS partners, i.cells AS cells,
  i.tested AS tested, i.significant AS significant, i.ratio AS ratio, i.ratio_null AS ratio_null,
  i.effect AS effect, i.effect_low AS effect_low, i.effect_high AS effect_high, i.p AS p, i.control AS control,
  sqrt(i.control ^ 2 + i.control_sd ^ 2) AS control_size
ORDER BY verb, significant DESC, coefficient, intervention
LIMIT $limit
