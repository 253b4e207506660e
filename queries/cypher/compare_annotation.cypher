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
// column tested: of these, with genes that an own annotate run tested; the others count as not annotated
// column published: features with a published term
// column published_rate: published / features
// column calibrated: features with a term at calibrated q; empty where the library was not tested, as are all that follow from it
// column calibrated_rate: calibrated / features
// column null_rate: share of matched random lists that the run's threshold annotates, all libraries and layers together
// column published_terms: published pairs of feature and term
// column comparable_terms: of these, in libraries that were tested
// column surviving_terms: of these, at calibrated q as well
// column survival: surviving_terms / comparable_terms
// column calibrated_terms: own pairs at calibrated q
// column unpublished_terms: of these, not published
// budget: 2000
// note: `published` counts terms; features whose only published entry is an untested count of gene pairs are in the published rate of the report, not here.
// note: Published TRRUST entries count transcription factors among the genes, own ones are target sets: they are not compared.
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
  max(CASE WHEN e.origin <> 'published' AND e.q_calibrated <= $q THEN 1 ELSE 0 END) AS calibrated,
  max(CASE WHEN e.origin <> 'published' THEN e.run END) AS run
WITH f, library, sum(published) AS p, sum(calibrated) AS c, sum(published * calibrated) AS both, max(run) AS run
WITH f.model AS model, f.layer AS layer, library, max(run) AS run, collect({f: f, p: p, c: c}) AS features,
  sum(p) AS published_terms, sum(both) AS surviving_terms, sum(c) AS calibrated_terms
WITH model, layer, max(run) AS run, collect({library: library, features: features, p: published_terms, both: surviving_terms, c: calibrated_terms}) AS found
OPTIONAL MATCH (own:Run {id: run})
CALL (run) {
  OPTIONAL MATCH (:Run {id: run})-[:USED]->(l:GeneSetLibrary)
  WITH collect(DISTINCT l.name) AS names
  RETURN [x IN names | CASE WHEN x STARTS WITH 'GO_B' THEN 'GO_BP' WHEN x STARTS WITH 'KEGG' THEN 'KEGG' WHEN x STARTS WITH 'Reactome' THEN 'Reactome'
    WHEN x STARTS WITH 'TRRUST' THEN 'TRRUST' ELSE x END] AS used
}
CALL (model, layer) {
  MATCH (f:Feature) WHERE f.layer = layer AND f.model = model AND coalesce(f.alive, true)
  RETURN count(*) AS features, count(f.annotated) AS tested
}
CALL (found, used) {
  UNWIND found AS x
  UNWIND x.features AS one
  RETURN 'any' AS library, count(DISTINCT CASE WHEN one.p > 0 THEN one.f END) AS published, count(DISTINCT CASE WHEN one.c > 0 THEN one.f END) AS calibrated,
    reduce(s = 0, y IN found | s + y.p) AS published_terms, reduce(s = 0, y IN found | s + CASE WHEN y.library IN used AND y.library <> 'TRRUST' THEN y.p ELSE 0 END) AS comparable,
    reduce(s = 0, y IN found | s + CASE WHEN y.library <> 'TRRUST' THEN y.both ELSE 0 END) AS surviving, reduce(s = 0, y IN found | s + y.c) AS calibrated_terms
  UNION ALL
  UNWIND found AS x
  UNWIND x.features AS one
  WITH x.library AS library, x.p AS published_terms, x.both AS both, x.c AS calibrated_terms, one, x.library IN used AND x.library <> 'TRRUST' AS comparable
  RETURN library, count(CASE WHEN one.p > 0 THEN 1 END) AS published, count(CASE WHEN one.c > 0 THEN 1 END) AS calibrated, published_terms,
    CASE WHEN comparable THEN published_terms ELSE 0 END AS comparable, CASE WHEN comparable THEN both ELSE 0 END AS surviving, calibrated_terms
}
WITH model, layer, own, features, tested, library, published, calibrated, published_terms, comparable, surviving, calibrated_terms,
  CASE WHEN tested > 0 AND (library = 'any' OR library IN used) THEN 1 END AS known
RETURN model, layer, library, features, tested, published, toFloat(published) / features AS published_rate,
  calibrated * known AS calibrated, toFloat(calibrated) * known / features AS calibrated_rate, CASE WHEN library = 'any' AND known = 1 THEN own.null_annotation_rate END AS null_rate,
  published_terms, comparable * known AS comparable_terms, surviving * known AS surviving_terms, CASE WHEN comparable > 0 THEN toFloat(surviving) * known / comparable END AS survival,
  calibrated_terms * known AS calibrated_terms, (calibrated_terms - surviving) * known AS unpublished_terms
ORDER BY model, layer, library = 'any' DESC, library
LIMIT 2000
