// name: intervention_graph
// title: Interventions, drawn
// folder: Interventions
// question: Which features were changed together, and what changed in response?
// shape: graph
// param interventions: int = 6 (1..20) -- maximum number of interventions drawn, those with most significant targets first
// param targets: int = 8 (1..10) -- number of largest shifts drawn for each intervention
// param q: float = 0.05 (0..1) -- maximum q of a shift
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
