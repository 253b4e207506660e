// name: intervention_graph
// title: Interventions, drawn
// folder: Interventions
// question: Which features were changed together, and what moved?
// shape: graph
// param interventions: int = 6 (1..20) -- interventions drawn, most significant targets first
// param targets: int = 8 (1..10) -- largest shifts of each
// param q: float = 0.05 (0..1) -- largest q of a shift
// column path: the path drawn
// budget: 260

MATCH (i:Intervention)
WITH i ORDER BY coalesce(i.significant, 0) DESC, i.id LIMIT $interventions
CALL (i) {
  MATCH path = (:Feature)-[:PART_OF]->(i) RETURN path LIMIT 3
  UNION
  MATCH path = (i)-[s:SHIFTED]->(:Feature|Gene)
  WHERE s.q <= $q
  RETURN path ORDER BY abs(coalesce(s.interaction, s.effect)) DESC LIMIT $targets
}
RETURN path
LIMIT 260
