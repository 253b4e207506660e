// name: imported_runs
// title: What was imported
// folder: Runs and controls
// question: Which published results are in the graph, and what do they not say?
// shape: table
// param limit: int = 50 (1..100000) -- most rows
// column run: id
// column name: caption
// column format: format of the files
// column origin: where they come from, as far as they say
// column started: UTC
// column edges: edges between features
// column cap: most edges kept of each source feature and layer; 0: all
// column rule: rule by which it chose its edges
// column lacks: what it does not give: comparisons that need it are refused
// column annotated_by: annotate runs computed from it
// budget: $limit

MATCH (run:Run)
WHERE run.method = 'imported'
RETURN run.id AS run, run.name AS name, run.format AS format, coalesce(run.origin, '') AS origin, run.started AS started, run.edges AS edges, coalesce(run.cap, 0) AS cap,
  coalesce(run.rule, '') AS rule, coalesce(run.lacks, []) AS lacks,
  COLLECT { MATCH (run)<-[:FROM]-(child:Run) WHERE child.verb = 'annotate' RETURN child.id ORDER BY child.id } AS annotated_by
ORDER BY started DESC, run
LIMIT $limit
