// name: compare_annotation
// title: Published and calibrated
// folder: Knowledge
// question: How many published annotations are better than matched random gene lists, and which terms were not published?
// shape: table
// param run: str = "" e.g. "annotate-0123456789" -- id of an annotate run; empty: the newest complete one of each trace run and imported atlas, and dictionaries that have published annotations only
// param model: str = "" e.g. "scgpt-whole-human" -- name of the model; empty: all
// param q: float = 0.05 (0..1) -- maximum calibrated q of an own term
// column run: annotate run of the row; empty: the dictionary has published annotations only
// column model: name of the model
// column set: dictionary set
// column layer: 0-based layer
// column library: gene-set library; any: all libraries together, each feature counted once
// column features: features of the layer that fire in the run that was annotated
// column tested: of these, features with genes that the run could test; the others count as not annotated. Empty where the run did not look at the layer
// column published: features with a published term
// column published_rate: published / features
// column calibrated: features with a term at calibrated q; 0 where none passed. Empty, like the columns derived from it, where the run did not test the library or the layer
// column calibrated_rate: calibrated / features
// column null_rate: share of matched random gene lists that the run's threshold annotates, all libraries and layers together
// column published_terms: published feature-term pairs
// column comparable_terms: of the published, terms in libraries that the run tested
// column surviving_terms: of the comparable, terms that also pass at calibrated q
// column survival: surviving_terms / comparable_terms
// column calibrated_terms: own feature-term pairs at calibrated q
// column unpublished_terms: of the calibrated, terms that are not published
// budget: 2000
// note: There is a row for every layer that the run annotates and every library that is tested or published, so that sums over layers are complete.
// note: `published` counts features with a tested term. The published rate in the report also counts features whose only entry is an untested number of gene pairs.
// note: Published TRRUST entries count transcription factors among the genes, and own ones test target sets, so the two are not compared.
// note: Terms are matched by accession within GO_BP, KEGG, Reactome and TRRUST, across releases. Their gene sets differ: the published ones were restricted to the genes of their pipeline.
// note: `null_rate` is the null of `calibrated_rate`. The null of the published rule is in the report and in the findings of the annotate run.

WITH $run AS wanted
CALL (wanted) {
  MATCH (run:Run {verb: 'annotate'})-[:FROM]->(base:Run)
  WHERE run.id = wanted OR (wanted = '' AND run.status = 'complete')
  WITH base, run ORDER BY run.started DESC, run.id DESC
  WITH base, head(collect(run)) AS run
  MATCH (base)-[:USED]->(d:Dictionary)
  RETURN DISTINCT d, run
  UNION
  WITH wanted WHERE wanted = ''
  MATCH (d:Dictionary)
  WHERE NOT EXISTS { (d)<-[:USED]-(:Run)<-[:FROM]-(:Run {verb: 'annotate', status: 'complete'}) }
  RETURN d, null AS run
}
WITH d, run WHERE $model IN ['', d.model]
CALL (run) {
  OPTIONAL MATCH (run)-[:USED]->(l:GeneSetLibrary)
  WITH collect(DISTINCT l.name) AS names
  UNWIND [null] + names AS x
  RETURN collect(DISTINCT CASE WHEN x STARTS WITH 'GO_B' THEN 'GO_BP' WHEN x STARTS WITH 'KEGG' THEN 'KEGG' WHEN x STARTS WITH 'Reactome' THEN 'Reactome'
    WHEN x STARTS WITH 'TRRUST' THEN 'TRRUST' ELSE x END) AS used
}
CALL (d, run) {
  MATCH (f:Feature) WHERE f.layer = d.layer AND f.model = d.model AND f.dictionary = d.id
  WITH f, run, CASE WHEN run IS NULL THEN f.alive ELSE head(COLLECT { MATCH (f)<-[was:FOUND]-(base:Run) WHERE was.alive IS NOT NULL AND EXISTS { (run)-[:FROM]->(base) }
    RETURN was.alive ORDER BY base.started DESC, base.id DESC LIMIT 1 }) END AS alive
  WHERE coalesce(alive, true)
  OPTIONAL MATCH (run)-[x:FOUND]->(f) WHERE x.annotation_run IS NOT NULL
  RETURN count(*) AS features, count(x) AS said, count(x.label_null) AS tested, count(x) AS annotated
}
CALL (d, run, used) {
  MATCH (f:Feature)-[e:ENRICHED_FOR]->(t:Term)
  WHERE f.layer = d.layer AND f.model = d.model AND f.dictionary = d.id AND (e.origin = 'published' OR e.run = run.id)
  WITH f, CASE WHEN t.library STARTS WITH 'GO_B' THEN 'GO_BP' WHEN t.library STARTS WITH 'KEGG' THEN 'KEGG' WHEN t.library STARTS WITH 'Reactome' THEN 'Reactome'
      WHEN t.library STARTS WITH 'TRRUST' THEN 'TRRUST' ELSE replace(t.library, '-atlas', '') END AS library, t.accession AS accession,
    max(CASE WHEN e.origin = 'published' THEN 1 ELSE 0 END) AS published,
    max(CASE WHEN e.origin <> 'published' AND e.q_calibrated <= $q THEN 1 ELSE 0 END) AS calibrated, count(e.q_calibrated) AS own
  WITH f, library, sum(published) AS p, sum(calibrated) AS c, sum(published * calibrated) AS both, sum(own) AS own
  WITH library, collect({f: f, p: p, c: c}) AS one, sum(p) AS p, sum(both) AS both, sum(c) AS c, sum(own) AS own
  WITH collect({library: library, features: one, p: p, both: both, c: c}) AS some, sum(own) AS own
  RETURN some + [x IN used WHERE NOT x IN [y IN some | y.library] | {library: x, features: [], p: 0, both: 0, c: 0}] AS found, own
}
WITH d, run, used, features, said, tested, annotated + own AS annotated, found WHERE run IS NOT NULL OR size(found) > 0
CALL (found, used) {
  WITH found, used, reduce(all = [], x IN found | all + x.features) AS every
  CALL (every) {
    UNWIND [{p: 0, c: 0}] + every AS one
    RETURN count(DISTINCT CASE WHEN one.p > 0 THEN one.f END) AS published, count(DISTINCT CASE WHEN one.c > 0 THEN one.f END) AS calibrated
  }
  RETURN 'any' AS library, published, calibrated, reduce(s = 0, y IN found | s + y.p) AS published_terms,
    reduce(s = 0, y IN found | s + CASE WHEN y.library IN used AND y.library <> 'TRRUST' THEN y.p ELSE 0 END) AS comparable,
    reduce(s = 0, y IN found | s + CASE WHEN y.library <> 'TRRUST' THEN y.both ELSE 0 END) AS surviving, reduce(s = 0, y IN found | s + y.c) AS calibrated_terms
  UNION ALL
  UNWIND found AS x
  WITH x, x.library IN used AND x.library <> 'TRRUST' AS comparable
  RETURN x.library AS library, size([y IN x.features WHERE y.p > 0]) AS published, size([y IN x.features WHERE y.c > 0]) AS calibrated, x.p AS published_terms,
    CASE WHEN comparable THEN x.p ELSE 0 END AS comparable, CASE WHEN comparable THEN x.both ELSE 0 END AS surviving, x.c AS calibrated_terms
}
WITH *, CASE WHEN run IS NOT NULL AND annotated > 0 AND (library = 'any' OR library IN used) THEN 1 END AS known
RETURN coalesce(run.id, '') AS run, d.model AS model, coalesce(d.set, '') AS set, d.layer AS layer, library, features, CASE WHEN said > 0 THEN tested END AS tested,
  published, CASE WHEN features > 0 THEN toFloat(published) / features END AS published_rate,
  calibrated * known AS calibrated, CASE WHEN features > 0 THEN toFloat(calibrated) * known / features END AS calibrated_rate,
  CASE WHEN library = 'any' AND known = 1 THEN run.null_annotation_rate END AS null_rate,
  published_terms, comparable * known AS comparable_terms, surviving * known AS surviving_terms, CASE WHEN comparable > 0 THEN toFloat(surviving) * known / comparable END AS survival,
  calibrated_terms * known AS calibrated_terms, (calibrated_terms - surviving) * known AS unpublished_terms
ORDER BY model, set, layer, run, library = 'any' DESC, library
LIMIT 2000
