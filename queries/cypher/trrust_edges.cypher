// name: trrust_edges
// title: Edges that fit TRRUST
// folder: Regulation
// question: Which edges run from the features of a regulator to the features of its target gene?
// shape: table
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param top: int = 20 (1..1000) -- number of top genes of each feature to use
// param library: str = "TRRUST" e.g. "collectri" -- regulon library; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 30 (1..100000) -- maximum number of rows
// column source: address
// column source_name: caption
// column regulator: transcription factor among the source's top genes
// column mode: Activation, Repression, Unknown or Both
// column library: regulon library with this regulation
// column gene: target gene among the target's top genes
// column target: address
// column target_name: caption
// column effect: support or suppress
// column sign_agrees: true for Activation with support and Repression with suppress; empty when the mode predicts no sign
// column computed: mean effect on the target's pre-activation that the blocks computed
// column direct: mean effect on it that the residual stream alone carries
// column z_computed: computed effect, in standard deviations of the same for random directions
// column q_computed: q of the computed effect
// column d: mean / sd of the effect on the activation
// column q: q of that effect against zero
// budget: $limit
// note: Read this together with `trrust_share`: by chance alone many pairs fit a known regulation, so this list is never empty.

// current: the runs whose gene lists and terms are used
WITH current, $run AS wanted
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run ORDER BY run.started DESC, run.id DESC LIMIT 1
MATCH (tf:Gene)-[g:REGULATES]->(gene:Gene)
WHERE tf <> gene AND $library IN ['', g.library]
MATCH (s:Feature)-[a:LOADS_ON]->(tf) WHERE a.rank <= $top AND s.dictionary + ' ' + a.run IN current
MATCH (t:Feature)-[b:LOADS_ON]->(gene) WHERE b.rank <= $top AND t.dictionary + ' ' + b.run IN current
MATCH (s)-[r:AFFECTS]->(t)
WHERE r.run = run.id AND rule.edge(r)
WITH DISTINCT s, r, t, tf, g, gene ORDER BY abs(rule.rank(r)) DESC, s.id, t.id, tf.symbol, gene.symbol, g.library LIMIT $limit
RETURN s.id AS source, s.name AS source_name, tf.symbol AS regulator, g.mode AS mode, g.library AS library, gene.symbol AS gene,
  t.id AS target, t.name AS target_name, CASE WHEN rule.effect(r) < 0 THEN 'support' ELSE 'suppress' END AS effect,
  CASE g.mode WHEN 'Activation' THEN rule.effect(r) < 0 WHEN 'Repression' THEN rule.effect(r) > 0 END AS sign_agrees, 
  r.computed AS computed, r.direct AS direct, r.z_computed AS z_computed, r.q_computed AS q_computed, r.d AS d, r.q AS q
