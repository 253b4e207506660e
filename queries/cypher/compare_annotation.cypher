// name: compare_annotation
// title: Published and calibrated
// folder: Knowledge
// question: How much of the published annotation is better than matched random lists, and what does it miss?
// shape: table
// param run: str = "" e.g. "annotate-0123456789" -- annotate run; empty: the newest complete one of each trace run and imported atlas
// param model: str = "" e.g. "scgpt-whole-human" -- model; empty: all
// param q: float = 0.05 (0..1) -- largest calibrated q of an own term
// column model: model
// column layer: 0-based layer
// column library: gene-set library; any: a feature counts once
// column features: features of the layer that fire
// column tested: of these, tested by an own annotate run
// column published: features with a published term
// column published_rate: published / features
// column calibrated: features with a term at calibrated q; empty where nothing was tested, as are all that follow from it
// column calibrated_rate: calibrated / tested
// column null_rate: share of matched random lists that the run's threshold annotates, all libraries and layers together
// column bh: features with a term by Benjamini-Hochberg over every test
// column published_terms: published pairs of feature and term
// column surviving_terms: of these, at calibrated q as well
// column survival: surviving_terms / published_terms
// column calibrated_terms: own pairs at calibrated q
// column unpublished_terms: of these, not published
// budget: 2000
// note: Terms meet by accession within GO_BP, KEGG, Reactome and TRRUST, whatever the release; the gene sets differ, for the published ones were cut to the genes of their pipeline.
// note: `null_rate` belongs to `calibrated_rate`. The null of the published rule is in the report and in the findings of the annotate run.

WITH $run AS wanted
CALL (wanted) {
  MATCH (run:Run) WHERE run.id = wanted AND wanted <> ''
  RETURN collect(run.id) AS runs
  UNION
  WITH wanted WHERE wanted = ''
  MATCH (run:Run {verb: 'annotate', status: 'complete'})
  OPTIONAL MATCH (run)-[:FROM]->(parent:Run)
  WITH parent, run ORDER BY run.started DESC, run.id DESC
  WITH parent, head(collect(run.id)) AS newest
  RETURN collect(newest) AS runs
}
MATCH (f:Feature)-[e:ENRICHED_FOR]->(t:Term)
WHERE ($model = '' OR f.model = $model) AND (e.origin = 'published' OR e.run IN runs)
WITH f, CASE WHEN t.library STARTS WITH 'GO_B' THEN 'GO_BP' WHEN t.library STARTS WITH 'KEGG' THEN 'KEGG' WHEN t.library STARTS WITH 'Reactome' THEN 'Reactome'
    WHEN t.library STARTS WITH 'TRRUST' THEN 'TRRUST' ELSE replace(t.library, '-atlas', '') END AS library, t.accession AS accession,
  max(CASE WHEN e.origin = 'published' THEN 1 ELSE 0 END) AS published,
  max(CASE WHEN e.origin <> 'published' AND coalesce(e.q_calibrated, e.q) <= $q THEN 1 ELSE 0 END) AS calibrated,
  max(CASE WHEN e.origin <> 'published' AND e.q <= $q THEN 1 ELSE 0 END) AS bh,
  max(CASE WHEN e.origin <> 'published' THEN e.run END) AS run
WITH f, library, sum(published) AS p, sum(calibrated) AS c, sum(published * calibrated) AS both, max(bh) AS bh, max(run) AS run
WITH f.model AS model, f.layer AS layer, f, collect({library: library, p: p, c: c, both: both, bh: bh}) AS found, max(run) AS run
WITH model, layer, run, found + [{library: 'any', p: reduce(s = 0, x IN found | s + x.p), c: reduce(s = 0, x IN found | s + x.c),
  both: reduce(s = 0, x IN found | s + x.both), bh: reduce(s = 0, x IN found | CASE WHEN x.bh > s THEN x.bh ELSE s END)}] AS found
UNWIND found AS x
WITH model, layer, x.library AS library, max(run) AS run, count(CASE WHEN x.p > 0 THEN 1 END) AS published, count(CASE WHEN x.c > 0 THEN 1 END) AS calibrated,
  count(CASE WHEN x.bh > 0 THEN 1 END) AS bh, sum(x.p) AS published_terms, sum(x.both) AS surviving_terms, sum(x.c) AS calibrated_terms
WITH model, layer, collect({library: library, run: run, published: published, calibrated: calibrated, bh: bh, published_terms: published_terms,
  surviving_terms: surviving_terms, calibrated_terms: calibrated_terms}) AS found
CALL (model, layer) {
  MATCH (f:Feature) WHERE f.layer = layer AND f.model = model AND coalesce(f.alive, true)
  RETURN count(*) AS features, count(f.annotated) AS tested
}
WITH model, layer, found, features, tested, CASE WHEN tested > 0 THEN 1 END AS known
UNWIND found AS x
OPTIONAL MATCH (run:Run {id: x.run})
RETURN model, layer, x.library AS library, features, tested, x.published AS published, toFloat(x.published) / features AS published_rate,
  x.calibrated * known AS calibrated, CASE WHEN tested > 0 THEN toFloat(x.calibrated) / tested END AS calibrated_rate, CASE WHEN x.library = 'any' THEN run.null_annotation_rate END AS null_rate, x.bh * known AS bh,
  x.published_terms AS published_terms, x.surviving_terms * known AS surviving_terms,
  CASE WHEN x.published_terms > 0 THEN toFloat(x.surviving_terms) * known / x.published_terms END AS survival,
  x.calibrated_terms * known AS calibrated_terms, (x.calibrated_terms - x.surviving_terms) * known AS unpublished_terms
ORDER BY model, layer, library = 'any' DESC, library
LIMIT 2000
