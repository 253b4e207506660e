// name: runs
// title: Runs in the graph
// folder: Runs and controls
// question: Which runs are in the graph?
// shape: table
// param verb: str = "" e.g. "trace" -- command that made the run: trace, annotate, analyse, ablate, steer, import or match; empty: all
// param limit: int = 50 (1..100000) -- maximum number of rows
// column run: id
// column verb: command that made the run
// column status: running, complete, interrupted or failed
// column started: start time, UTC
// column seconds: wall time
// column method: context of the edit (exact or frozen), or imported
// column edges: stored edge records
// column edges_computed: edges by the computed rule; empty: no direction null
// column expected_false: computed edges that held-out random directions give at the same threshold
// column edges_calibrated: edges by the calibrated rule
// column edges_legacy: edges by the legacy rule
// column live_tests: number of live tests
// column zero_edit_max: control: largest absolute effect of the zero edit, with batches of other shapes and ties between latents included
// column numeric_floor: effects up to this size count as none: what rounding alone changes, ties left out
// column annotation_rate: share of features annotated
// column null_annotation_rate: control: share of matched random gene lists that are annotated
// column parents: runs it was computed from
// budget: $limit

MATCH (run:Run)
WHERE $verb IN ['', run.verb]
RETURN run.id AS run, run.verb AS verb, run.status AS status, run.started AS started, run.seconds AS seconds, run.method AS method,
  run.edges AS edges, run.edges_computed AS edges_computed, run.expected_false AS expected_false,
  run.edges_calibrated AS edges_calibrated, run.edges_legacy AS edges_legacy, run.live_tests AS live_tests,
  run.zero_edit_max AS zero_edit_max, run.numeric_floor AS numeric_floor, run.annotation_rate AS annotation_rate, run.null_annotation_rate AS null_annotation_rate,
  COLLECT { MATCH (run)-[:FROM]->(parent:Run) RETURN parent.id ORDER BY parent.id } AS parents
ORDER BY started DESC, run
LIMIT $limit
