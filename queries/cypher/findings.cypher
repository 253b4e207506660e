// name: findings
// title: Findings of runs
// folder: Start here
// question: What did the analyses find, beside their nulls?
// shape: table
// param run: run = "" -- run that found it, or a run that this was computed from; empty: all
// param finding: str = "" e.g. "coherence" -- name of the finding; empty: all
// param limit: int = 50 (1..100000) -- maximum number of rows
// column verb: command of the run
// column finding: name of the finding
// column title: heading
// column sentence: the reading
// column null_text: how the null was drawn
// column p: p of the finding where one p states it
// column run: run that found it
// column started: start time of the run, UTC
// budget: $limit
// note: Newest run first. The frames behind the findings are in the folders of the runs, and as CSV beside the report.

MATCH (f:Finding)-[:FROM]->(run:Run)
WHERE $finding IN ['', f.name] AND ($run IN ['', run.id] OR EXISTS { (run)-[:FROM]->(:Run {id: $run}) })
WITH f, run ORDER BY run.started DESC, run.id, f.position, f.name LIMIT $limit
RETURN f.verb AS verb, f.name AS finding, f.title AS title, f.sentence AS sentence, f.null_text AS null_text, f.p AS p, run.id AS run, run.started AS started
ORDER BY started DESC, run, f.position, finding
