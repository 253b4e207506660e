// name: behaviour_circuit_graph
// title: Behaviour circuit, drawn
// folder: Interventions
// question: Which features keep this behaviour, and which computed edges connect them?
// shape: graph
// param circuit: str = "" -- id of a circuit; empty: the one of the newest run that was not refused
// param features: int = 80 (1..140) -- maximum number of features drawn, those that are kept first
// column path: the path drawn
// budget: 2 * $features
// note: of every feature the strongest computed edge to another feature of the circuit is drawn, in the trace run that it was found in

WITH $circuit AS wanted
MATCH (i:Intervention {verb: 'circuit'})-[:FROM]->(run:Run)
WHERE wanted = i.id OR (wanted = '' AND i.refused IS NULL)
WITH i, run ORDER BY run.started DESC, i.id LIMIT 1
CALL (i) {
  MATCH (f:Feature)-[part:PART_OF]->(i)
  RETURN f, part ORDER BY part.position, f.id LIMIT $features
}
CALL (i, run, f, part) {
  MATCH path = (f)-[own:PART_OF]->(i) WHERE own.run = part.run RETURN path
  UNION
  MATCH (run)-[:FROM]->(trace:Run {verb: 'trace'})
  MATCH path = (f)-[r:AFFECTS]->(t:Feature {id: part.leads_to}) WHERE r.run = trace.id
  RETURN path
}
RETURN path
