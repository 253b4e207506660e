// name: imported_runs
// title: What was imported
// folder: Runs and controls
// question: Which published results are in the graph, and what is missing from them?
// shape: table
// param limit: int = 50 (1..100000) -- maximum number of rows
// column run: id
// column name: caption
// column format: format of the files
// column origin: where the files come from, as far as they state it
// column started: start time, UTC
// column edges: edges between features
// column cap: maximum number of edges that the study kept for each source feature and layer; 0: all were kept
// column rule: rule by which the study chose its edges
// column lacks: what the published files do not give; comparisons that need it are refused
// column annotated_by: annotate runs that used it
// budget: $limit

MATCH (run:Run)
WHERE run.method = 'imported'
RETURN run.id AS run, run.name AS name, run.format AS format, coalesce(run.origin, '') AS origin, run.started AS started, run.edges AS edges, coalesce(run.cap, 0) AS cap,
  coalesce(run.rule, '') AS rule, coalesce(run.lacks, []) AS lacks,
  COLLECT { MATCH (run)<-[:FROM]-(child:Run) WHERE child.verb = 'annotate' RETURN child.id ORDER BY child.id } AS annotated_by
ORDER BY started DESC, run
LIMIT $limit
