// name: behaviour_circuits
// title: Behaviour circuits
// folder: Interventions
// question: Which small sets of features keep a behaviour of the model, and do random ones do as well?
// shape: table
// param behaviour: str = "" -- part of the behaviour, such as celltype or mlm; empty: all
// param limit: int = 30 (1..100000) -- maximum number of rows
// column circuit: id of the circuit
// column behaviour: the behaviour as asked for
// column size: features of the circuit
// column considered: features of the considered layers that fire
// column sufficiency: share of the behaviour that the circuit keeps when all other features are at their means
// column low: 95 % confidence interval over cells, lower bound
// column high: 95 % confidence interval over cells, upper bound
// column sufficiency_random: control: the same of random circuits of the same size, layers and firing rates
// column p: share of random circuits that keep as much
// column sufficiency_edges: share that is kept when, besides, its features reach each other through the computed edges between them alone
// column sufficiency_no_edges: control: the same without any edge between them
// column necessity: share of the behaviour that is lost when the circuit alone is at its means
// column necessity_random: control: the same of the random circuits
// column area: area under the curve of sufficiency against the share of features kept (CPR)
// column area_random: control: the same for random orders
// column distance: area between that curve and 1 (CMD)
// column edges: computed edges between its features
// column cells: cells that judged it
// column features: its features, best first, at most 20
// column refused: why it does not count, its numbers then being those of the set that came closest; empty where it counts
// column run: id of the run
// budget: $limit

MATCH (i:Intervention {verb: 'circuit'})
WHERE i.behaviour CONTAINS $behaviour
WITH i ORDER BY i.refused IS NOT NULL, i.sufficiency_p, i.size, i.id LIMIT $limit
RETURN i.id AS circuit, i.behaviour AS behaviour, i.size AS size, i.features_considered AS considered,
  i.sufficiency AS sufficiency, i.sufficiency_low AS low, i.sufficiency_high AS high, i.sufficiency_random AS sufficiency_random,
  i.sufficiency_p AS p, i.sufficiency_edges AS sufficiency_edges, i.sufficiency_no_edges AS sufficiency_no_edges,
  i.necessity AS necessity, i.necessity_random AS necessity_random,
  i.area AS area, i.area_random AS area_random, i.distance AS distance, i.edges AS edges, i.cells AS cells,
  COLLECT { MATCH (f:Feature)-[part:PART_OF]->(i) RETURN f.id ORDER BY part.position, f.id LIMIT 20 } AS features,
  i.refused AS refused, i.run AS run
ORDER BY refused IS NOT NULL, p, size, circuit
