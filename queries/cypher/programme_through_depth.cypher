// name: programme_through_depth
// title: A programme in depth
// folder: Knowledge
// question: In which layers is a gene programme represented, and are its features linked between layers?
// shape: table
// param term: str e.g. "T cell activation" -- part of the term's name, or its accession
// param model: str = "" e.g. "geneformer-v2-316m" -- name of the model; empty: all
// param q: float = 0.05 (0..1) -- maximum calibrated q of an own annotation, or q of a published one
// param origin: str = "" e.g. "published" -- own or published annotations; empty: own if the model has any for the term, otherwise published
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 100 (1..1000) -- maximum number of rows
// column model: name of the model
// column layer: 0-based layer
// column origin: whether the annotations are own or published
// column features: features of the layer with the term
// column share: features / features of the layer that fire
// column best_feature: the one with the smallest q
// column name: its caption
// column q: q; calibrated for own terms
// column from_earlier: features linked to a feature of the programme in an earlier layer
// column to_later: features linked to a feature of the programme in a later layer
// column strongest: addresses of the two features with the strongest link, the earlier layer first
// column link: type and strength of that link
// budget: $limit
// note: Links are CO_OCCURS (same positions) and SAME_GENES (same genes, from `scircuit match`). A linked feature in a later layer represents the same programme; it need not compute anything.

// current: the runs whose gene lists and terms are used
MATCH (t:Term) WHERE toLower(t.name) CONTAINS toLower($term) OR t.accession = $term
MATCH (f:Feature)-[e:ENRICHED_FOR]->(t)
WHERE $model IN ['', f.model] AND CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $q AND $origin IN ['', e.origin] AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
WITH current, f.model AS model, e.origin AS origin, f, min(CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END) AS q
WITH current, model, origin, collect({f: f, q: q}) AS members ORDER BY origin
WITH current, model, collect({origin: origin, members: members})[0] AS chosen
WITH current, model, chosen.origin AS origin, chosen.members AS members
WITH current, model, origin, members, [m IN members | m.f] AS carriers
UNWIND members AS m
WITH current, model, origin, carriers, m.f AS f, m.q AS q
CALL (f, carriers) {
  OPTIONAL MATCH (f)-[r:CO_OCCURS|SAME_GENES]-(g:Feature)
  WHERE g IN carriers AND g.model = f.model
  WITH f, g, r ORDER BY r.overlap DESC, r.pmi DESC, g.id
  WITH f, collect(CASE WHEN g.layer < f.layer THEN {g: g, r: r} END) AS earlier, count(CASE WHEN g.layer > f.layer THEN 1 END) AS later
  RETURN head(earlier) AS earlier, later
}
WITH current, model, origin, f.layer AS layer, f, q, earlier, later ORDER BY q, f.id
WITH current, model, origin, layer, collect(f) AS found, collect(q) AS qs, count(earlier) AS from_earlier, count(CASE WHEN later > 0 THEN 1 END) AS to_later,
  collect(CASE WHEN earlier IS NOT NULL THEN {f: f, g: earlier.g, r: earlier.r} END) AS links
WITH *, found[0] AS best, reduce(top = null, x IN links | CASE WHEN top IS NULL OR coalesce(x.r.overlap, x.r.pmi / 100) > coalesce(top.r.overlap, top.r.pmi / 100) THEN x ELSE top END) AS top,
  COUNT { MATCH (x:Feature) WHERE x.model = model AND x.layer = layer AND coalesce(listed.alive(x), true) } AS alive
RETURN model, layer, origin, size(found) AS features, toFloat(size(found)) / alive AS share, best.id AS best_feature, best.name AS name, qs[0] AS q, from_earlier, to_later,
  CASE WHEN top IS NULL THEN [] ELSE [top.g.id, top.f.id] END AS strongest,
  CASE WHEN top IS NULL THEN '' ELSE type(top.r) + ' ' + toString(round(coalesce(top.r.overlap, top.r.pmi), 3)) END AS link
ORDER BY model, layer
LIMIT $limit
