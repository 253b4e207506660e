// name: run_inputs
// title: What a run was made of
// folder: Runs and controls
// question: Which model, dictionaries, cells and settings were used in this run?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// column run: id
// column kind: setting, model, dictionary, cohort, gene-set library or parent run
// column name: name of the item
// column value: value, or hash of the file
// budget: 500

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run) {
  UNWIND ['verb', 'status', 'started', 'version', 'method', 'device', 'numerics', 'seed', 'config', 'inputs'] AS key
  RETURN 1 AS block, 'setting' AS kind, key AS name, toString(run[key]) AS value
  UNION ALL
  MATCH (run)-[:USED]->(m:Model)
  RETURN 2 AS block, 'model' AS kind, m.name AS name, 'sha256 ' + m.sha256 AS value
  UNION ALL
  MATCH (run)-[:USED]->(d:Dictionary)
  RETURN 3 AS block, 'dictionary' AS kind, d.id AS name, 'sha256 ' + d.sha256 AS value
  UNION ALL
  MATCH (run)-[:USED]->(c:Cohort)
  UNWIND [['file', c.file], ['sha256', c.sha256], ['cells', toString(c.cells)], ['filters', c.filters], ['composition', c.composition],
    ['scale', c.scale], ['species', c.species], ['share of expressed genes known to the model', toString(c.mapped_share)]] AS pair
  RETURN 4 AS block, 'cohort' AS kind, pair[0] AS name, pair[1] AS value
  UNION ALL
  MATCH (run)-[:USED]->(l:GeneSetLibrary)
  RETURN 5 AS block, 'gene-set library' AS kind, l.name AS name, 'sha256 ' + l.sha256 AS value
  UNION ALL
  MATCH (run)-[:FROM]->(parent:Run)
  RETURN 6 AS block, 'parent run' AS kind, parent.verb AS name, parent.id AS value
}
RETURN run.id AS run, kind, name, coalesce(value, '') AS value
ORDER BY block, kind, name, value
LIMIT 500
