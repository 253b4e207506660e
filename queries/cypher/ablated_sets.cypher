// name: ablated_sets
// title: Features ablated together
// folder: Interventions
// question: Which sets of features act together otherwise than one by one, and what would additive effects show?
// shape: table
// param set_class: str = "" -- given, hubs, same, cross or random; empty: all
// param order: int = 0 (0..6) -- number of features of the contrast; 0: all
// param limit: int = 30 (1..100000) -- maximum number of rows
// column intervention: id of the intervention; of a subset of a set it names the set first
// column features: features ablated together
// column set_class: how the set was chosen
// column order: features of the contrast
// column target_layer: layer read
// column cells: cells where any feature of the set is active
// column cells_together: cells where all are
// column tested: targets tested
// column significant: targets whose interaction contrast has q at the threshold
// column tested_computed: the same for the computed part of the effects
// column significant_computed: targets whose computed contrast has q at the threshold
// column signed_ratio: mean joint effect over the sum of mean single effects; additive effects give 1
// column signed_ratio_low: 95 % confidence interval, lower bound
// column signed_ratio_high: 95 % confidence interval, upper bound
// column ratio: published ratio, median |joint| / sum |single| of standardised effects
// column ratio_null: control: the same ratio for exactly additive effects
// budget: $limit

MATCH (i:Intervention)
WHERE i.verb = 'ablate' AND i.order > 1 AND $set_class IN ['', i.set_class] AND $order IN [0, i.order]
WITH i ORDER BY coalesce(i.significant, 0) DESC, i.id LIMIT $limit
RETURN i.id AS intervention, COLLECT { MATCH (f:Feature)-[:PART_OF]->(i) RETURN f.id ORDER BY f.id } AS features,
  i.set_class AS set_class, i.order AS order, i.target_layer AS target_layer, i.cells AS cells,
  i.cells_together AS cells_together, i.tested AS tested, i.significant AS significant,
  i.tested_computed AS tested_computed, i.significant_computed AS significant_computed,
  i.signed_ratio AS signed_ratio, i.signed_ratio_low AS signed_ratio_low, i.signed_ratio_high AS signed_ratio_high,
  i.ratio AS ratio, i.ratio_null AS ratio_null
