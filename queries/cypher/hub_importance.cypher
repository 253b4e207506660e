// name: hub_importance
// title: Importance of hubs
// folder: Interventions
// question: How much does the masked-LM loss rise without a hub, and without a feature that fires as often?
// shape: table
// param limit: int = 150 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column arm: hub, matched (fires as often as one of the hubs) or random
// column layer: layer of the feature
// column firing_rate: share of gene positions where it fires
// column importance: change of the loss, mean over all cells, in nats per masked gene; inactive cells count as zero
// column low: 95 % confidence interval over cells, lower bound
// column high: 95 % confidence interval over cells, upper bound
// column p: sign-flip p over cells
// column q: q over the features of the run
// column cells: number of cells
// column run: id of the importance run
// budget: $limit

MATCH (f:Feature)-[part:PART_OF]->(i:Intervention {verb: 'importance'})
RETURN f.id AS feature, f.name AS name, part.role AS arm, f.layer AS layer, f.firing_rate AS firing_rate,
  i.effect AS importance, i.effect_low AS low, i.effect_high AS high, i.p AS p, i.q AS q, i.cells AS cells, i.run AS run
ORDER BY importance DESC, feature, run
LIMIT $limit
