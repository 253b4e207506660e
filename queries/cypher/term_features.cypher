// name: term_features
// title: A term and its children
// folder: Knowledge
// question: Which features are about this GO term or anything below it?
// shape: table
// param term: str e.g. "lymphocyte activation" -- name of the term or how it begins, or its accession
// param model: str = "" e.g. "geneformer-v2-316m" -- name of the model; empty: all
// param q: float = 0.05 (0..1) -- maximum calibrated q of an own annotation, or q of a published one
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 30 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column model: name of the model
// column layer: 0-based layer
// column terms: terms found, best first
// column steps: steps from the searched term down to the first of these terms; 0: the term itself
// column q_calibrated: smallest calibrated q of its own annotations among these terms
// column q_published: smallest published q among these terms
// column below: number of terms searched: the term and everything below it
// budget: $limit
// note: Terms below the searched term are found if a GO ontology was given (`scircuit annotate --obo`). Published terms are matched by accession.

// current: the runs whose gene lists and terms are used
MATCH (t:Term) WHERE toLower(t.name) STARTS WITH toLower($term) OR t.accession = $term
WITH current, t ORDER BY t.accession = $term DESC, size(t.name), t.id
WITH current, collect(t) AS found
UNWIND [x IN found WHERE x.accession = found[0].accession] AS t
MATCH path = (d:Term)-[:IS_A*0..25]->(t)
WITH current, d.accession AS accession, min(length(path)) AS steps
WITH current, collect({accession: accession, steps: steps}) AS tree, collect(accession) AS accessions
MATCH (d:Term) WHERE d.accession IN accessions
WITH current, tree, size(accessions) AS below, d
MATCH (f:Feature)-[e:ENRICHED_FOR]->(d)
WHERE $model IN ['', f.model] AND CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
WITH f, below, d, e, head([x IN tree WHERE x.accession = d.accession | x.steps]) AS steps ORDER BY CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END, d.name
WITH f, below, collect(DISTINCT d.name) AS terms, head(collect(steps)) AS steps, min(CASE WHEN e.origin <> 'published' THEN e.q_calibrated END) AS q_calibrated,
  min(CASE WHEN e.origin = 'published' THEN e.q END) AS q_published
RETURN f.id AS feature, f.name AS name, f.model AS model, f.layer AS layer, terms, steps, q_calibrated, q_published, below
ORDER BY q_calibrated, q_published, feature
LIMIT $limit
