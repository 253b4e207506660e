// name: trrust_edges
// title: Edges that fit TRRUST
// folder: Regulation
// question: Which edges run from the features of a regulator to the features of its target gene?
// shape: table
// param run: run = "" -- trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- largest Benjamini-Hochberg q of the edge
// param min_support: int = 6 (1..100000) -- least cells with a non-zero effect
// param min_effect: float = 0.001 (0..1000) -- least absolute mean effect, as a share of the mean activation of the target where it fires
// param top: int = 20 (1..1000) -- a gene counts when it is among the feature's first so many
// param library: str = "TRRUST" e.g. "collectri" -- library of regulons; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import whose gene lists, terms and cell types count; empty: the newest complete annotate run of each dictionary, else what was imported
// param limit: int = 30 (1..100000) -- most rows
// column source: address
// column source_name: caption
// column regulator: transcription factor among the source's top genes
// column mode: Activation, Repression, Unknown or Both
// column library: library of regulons that says so
// column gene: target gene among the target's top genes
// column target: address
// column target_name: caption
// column effect: support or suppress
// column sign_agrees: Activation with support, Repression with suppress; empty when the mode says nothing
// column d: mean / sd
// column q: q of the edge
// column halves: halves of the cells that agree on the edge
// budget: $limit
// note: Never read without `trrust_share`: so many pairs share a regulator by chance that a list like this always exists.

// current: of which run the gene lists and terms hold
WITH current, $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (tf:Gene)-[g:REGULATES]->(gene:Gene)
WHERE tf <> gene AND $library IN ['', g.library]
MATCH (s:Feature)-[a:LOADS_ON]->(tf) WHERE a.rank <= $top AND s.dictionary + ' ' + a.run IN current
MATCH (t:Feature)-[b:LOADS_ON]->(gene) WHERE b.rank <= $top AND t.dictionary + ' ' + b.run IN current
MATCH (s)-[r:AFFECTS]->(t)
WHERE r.run = run.id AND r.q <= $q AND r.n_pos + r.n_neg >= $min_support AND abs(r.mean) >= $min_effect * coalesce(endNode(r).mean_activation, 0.0)
WITH DISTINCT s, r, t, tf, g, gene ORDER BY abs(r.d) DESC, s.id, t.id, tf.symbol, gene.symbol, g.library LIMIT $limit
RETURN s.id AS source, s.name AS source_name, tf.symbol AS regulator, g.mode AS mode, g.library AS library, gene.symbol AS gene,
  t.id AS target, t.name AS target_name, CASE WHEN r.mean < 0 THEN 'support' ELSE 'suppress' END AS effect,
  CASE g.mode WHEN 'Activation' THEN r.mean < 0 WHEN 'Repression' THEN r.mean > 0 END AS sign_agrees, r.d AS d, r.q AS q, r.halves AS halves
