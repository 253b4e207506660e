// name: provenance_graph
// title: Provenance, drawn
// folder: Runs and controls
// question: Where does this run come from, and what was computed from it?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// column path: the path drawn
// budget: 200

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run) {
  MATCH path = (run)-[:USED|FROM]->(:Model|Dictionary|Cohort|GeneSetLibrary|Run) RETURN path LIMIT 60
  UNION
  MATCH path = (run)<-[:FROM]-(:Run|Control) RETURN path LIMIT 60
  UNION
  MATCH path = (run)<-[:FROM]-(:Run)-[:USED]->(:GeneSetLibrary) RETURN path LIMIT 30
  UNION
  MATCH path = (run)-[:USED]->(:Dictionary)-[:OF]->(:Model) RETURN path LIMIT 50
}
RETURN path
LIMIT 200
