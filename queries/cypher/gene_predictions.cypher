// name: gene_predictions
// title: Pairs of genes
// folder: Regulation
// question: Which pairs of genes do the edges of a circuit link, and what did a screen observe?
// shape: table
// param run: run = "" -- id of a predict run; empty: the newest complete one
// param gene: str = "" e.g. "G1" -- symbol of the first or the second gene; empty: all
// param q: float = 0.05 (0..1) -- maximum q against permuted gene lists
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: symbol of the gene whose features are the sources
// column target: symbol of the gene whose features are the targets
// column effect: support or suppress
// column score: weighted mean of the signed strength of the edges
// column edges: edges between a feature of each
// column z: in standard deviations under permuted gene lists
// column q: q against them
// column known: mode of the pair in the library of regulons; empty where it has none
// column observed: log2 change of the target where the source is knocked out in the screen of the run
// column observed_q: q of that change
// column sign_agrees: true where the target falls with support or rises with suppression; empty where the change is not told from zero (q above 0.05)
// column strongest_source: source of the edge that says most
// column strongest_target: its target
// budget: $limit
// note: Needs `scircuit predict`. Whether the circuit foretells responses better than simple rules do is in the findings of the run, and not in single pairs.

WITH $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'predict' AND run.status = 'complete')
WITH run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (a:Gene)-[r:PREDICTS]->(b:Gene)
WHERE r.run = run.id AND r.q <= $q AND $gene IN ['', a.symbol, b.symbol]
WITH a, r, b ORDER BY abs(r.z) DESC, a.symbol, b.symbol LIMIT $limit
RETURN a.symbol AS source, b.symbol AS target, CASE WHEN r.score > 0 THEN 'support' ELSE 'suppress' END AS effect, r.score AS score,
  r.edges AS edges, r.z AS z, r.q AS q, coalesce(r.known, '') AS known, r.observed AS observed, r.observed_q AS observed_q,
  CASE WHEN r.observed_q <= 0.05 THEN (r.score > 0) = (r.observed < 0) END AS sign_agrees,
  r.strongest_source AS strongest_source, r.strongest_target AS strongest_target
