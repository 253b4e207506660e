// name: feature_knowledge
// title: All about a feature
// folder: Knowledge
// question: What is known about this feature: genes, own and published terms, regulators, cell types, counterparts and circuit?
// shape: table
// param feature: feature = "" -- address, or its last two parts; empty: the annotated feature with the best hub rank, or the one with most published terms if none is ranked
// param q: float = 0.05 (0..1) -- maximum q of own terms, cell types, and edges that have a q
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect, for edges that have counts
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires, for edges where both are known
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 8 (1..1000) -- maximum number of rows of each kind; for regulators, of each library
// column section: feature, gene, term, regulator, cell type, tissue, counterpart, same genes, module, drives, driven by, co-occurs, responds to, intervention
// column name: symbol, name or caption
// column measure: what `value` measures
// column value: value of the measure
// column q_calibrated: own q against random gene lists matched to the feature
// column q_published: adjusted p as published
// column q: own Benjamini-Hochberg q
// column overlap: shared genes, or cells
// column origin: own, published, both or imported
// column detail: shared genes and other details of the row
// column library: gene-set library
// column item: key of the item in the graph
// column run: run that wrote it
// column feature: address
// budget: 28 * $limit
// note: Genes, own terms, labels and shares of transcription factors come from one run. Firing rate and degrees are those of the newest trace run and of its newest analysis, which `run` names.
// note: Published and own terms are matched by accession. A published term without `q_calibrated` is not among the stored own tests: it did not pass, or its library was not tested.
// note: Edges come from all complete runs; if several have the same edge, the newest is used. Imported edges are listed with the statistics that were published.

// current: the runs whose gene lists and terms are used
WITH current, $feature AS address
CALL (address, current) {
  MATCH (f:Feature {id: address}) RETURN f
  UNION
  WITH address, current WHERE address = ''
  MATCH (f:Feature) WHERE EXISTS { (f)-[:LOADS_ON]->() }
  RETURN f ORDER BY coalesce(listed.annotated(f), false) DESC, f.hub_rank, listed.label_q(f), coalesce(f.published_terms, 0) DESC, f.id LIMIT 1
}
CALL (f, current) {
  WITH f, listed.label(f) AS label, listed.annotation_run(f) AS run, CASE WHEN f.activation_run IS NULL THEN properties(f) ELSE head(COLLECT {
      MATCH (f)<-[told:FOUND]-(teller:Run {status: 'complete'}) WHERE told.analysis_run IS NOT NULL AND EXISTS { (teller)-[:FROM]->(:Run {id: f.activation_run}) }
      RETURN properties(told) AS told ORDER BY teller.started DESC, teller.id DESC LIMIT 1 }) END AS degrees, listed.label_library(f) AS library, listed.label_null(f) AS label_null, listed.label_q(f) AS label_q
  UNWIND [
    {item: 'label', name: label, run: run, library: library, measure: 'p against matched random lists', value: label_null, q_calibrated: label_q, origin: 'own', key: [1]},
    {item: 'label', name: f.published_label, library: f.published_library, measure: 'published entries', value: f.published_terms, origin: 'published', key: [2]},
    {item: 'firing', name: f.name, measure: 'firing rate', value: f.firing_rate, run: f.activation_run, overlap: f.cells_active,
      detail: CASE WHEN f.fire_count IS NOT NULL THEN [toString(f.fire_count) + ' firings'] ELSE [] END
        + CASE WHEN f.rare THEN ['rare: what is said of it rests on little'] ELSE [] END + CASE WHEN f.alive = false THEN ['never fires'] ELSE [] END, key: [3]},
    {item: 'degree', name: f.name, measure: 'edges out', value: toFloat(degrees.out_degree), run: degrees.analysis_run, key: [4],
      detail: CASE WHEN degrees.expected_degree IS NOT NULL THEN [toString(round(degrees.expected_degree)) + ' expected from its firing rate'] ELSE [] END
        + CASE WHEN degrees.hub_rank IS NOT NULL THEN ['hub rank ' + toString(degrees.hub_rank)] ELSE [] END},
    {item: 'degree', name: f.name, measure: 'edges out, published rule', value: toFloat(degrees.out_degree_legacy), run: degrees.analysis_run, key: [5]}
  ] AS row
  WITH row WHERE coalesce(row.name, '') <> '' AND (row.item <> 'degree' OR row.value IS NOT NULL)
  RETURN 1 AS block, 'feature' AS section, row
  UNION ALL
  MATCH (f)-[l:LOADS_ON]->(g:Gene)
  WHERE f.dictionary + ' ' + l.run IN current
  WITH g, l ORDER BY l.rank
  WITH g, head(collect(l)) AS l
  WITH {item: g.id, name: g.symbol, measure: 'mean activation', value: l.mean_activation, run: l.run, key: [l.rank, g.symbol],
    detail: ['rank ' + toString(l.rank)] + CASE WHEN l.fire_count IS NOT NULL THEN [toString(l.fire_count) + ' firings'] ELSE [] END} AS row
  RETURN 2 AS block, 'gene' AS section, row ORDER BY row.key LIMIT $limit
  UNION ALL
  MATCH (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current)
  WITH t, e ORDER BY e.run
  WITH t, e.origin AS origin, e.test AS test, head(collect(e)) AS e
  WITH t.accession AS accession, collect(CASE WHEN origin = 'published' THEN {t: t, e: e} END) AS published,
    collect(CASE WHEN origin <> 'published' THEN {t: t, e: e} END) AS own
  UNWIND CASE WHEN size(own) > 0 THEN own ELSE published END AS shown
  WITH shown.t AS t, shown.e AS e, size(own) > 0 AS mine, head(published) AS beside
  WHERE beside IS NOT NULL OR coalesce(e.q_calibrated, e.q) <= $q
  WITH CASE WHEN t.library STARTS WITH 'TRRUST' OR e.activation IS NOT NULL THEN 'regulator' ELSE 'term' END AS section, {
    item: t.id, name: t.name, library: t.library, measure: CASE WHEN t.library STARTS WITH 'TRRUST' OR e.activation IS NOT NULL THEN 'odds ratio of its targets' ELSE 'odds ratio' END,
    value: e.odds_ratio, q: CASE WHEN mine THEN e.q END, q_calibrated: CASE WHEN mine THEN e.q_calibrated END, q_published: beside.e.q, overlap: e.overlap,
    origin: CASE WHEN NOT mine THEN 'published' WHEN beside IS NULL THEN 'own' ELSE 'both' END, run: e.run,
    detail: CASE WHEN e.test IN ['hypergeometric', 'fisher_ov2_bh'] THEN [] ELSE [e.test + ' test'] END + coalesce(e.genes, []),
    key: [CASE WHEN mine THEN 0 ELSE 1 END, coalesce(e.q_calibrated, e.q), e.q, t.name, e.test]} AS row ORDER BY row.key
  WITH section, collect(row)[..$limit] AS rows
  UNWIND rows AS row
  RETURN CASE WHEN section = 'term' THEN 3 ELSE 4 END AS block, section, row
  UNION ALL
  MATCH (f)-[l:LOADS_ON]->(g:Gene)<-[x:REGULATES]-(tf:Gene)
  WHERE f.dictionary + ' ' + l.run IN current
  WITH DISTINCT tf, g, x ORDER BY g.symbol
  WITH tf, x.library AS library, count(DISTINCT g) AS genes, collect(g.symbol + ' ' + x.mode) AS detail
  WITH library, {item: tf.id, name: tf.symbol, library: library, measure: 'top genes that it regulates', value: toFloat(genes), overlap: genes, detail: detail, key: [library, -genes, tf.symbol]} AS row ORDER BY row.key
  WITH library, collect(row)[..$limit] AS rows ORDER BY library LIMIT 4
  UNWIND rows AS row
  RETURN 5 AS block, 'regulator' AS section, row
  UNION ALL
  MATCH (f)-[l:LOADS_ON]->(tf:Gene) WHERE tf.is_tf AND f.dictionary + ' ' + l.run IN current
  WITH tf, l.run AS run, min(l.rank) AS rank
  WITH {item: tf.id, name: tf.symbol, measure: 'rank among the top genes', value: toFloat(rank), run: run, key: [rank, tf.symbol],
    detail: COLLECT { MATCH (tf)-[x:REGULATES]->() RETURN DISTINCT 'a factor in ' + x.library AS text ORDER BY text }} AS row
  RETURN 6 AS block, 'regulator' AS section, row ORDER BY row.key LIMIT $limit
  UNION ALL
  WITH f, current, listed.tf_share(f) AS share WHERE share IS NOT NULL
  RETURN 7 AS block, 'regulator' AS section,
    {item: 'all', name: 'transcription factors', library: listed.tf_library(f), measure: 'share of the top genes', value: share, q: listed.tf_share_q(f), run: listed.annotation_run(f), key: [1]} AS row
  UNION ALL
  MATCH (f)-[a:ACTIVE_IN]->(c:CellType|Tissue)
  WHERE a.q <= $q AND (a.origin = 'published' OR f.dictionary + ' cells ' + a.run IN current)
  WITH c, a ORDER BY a.run
  WITH c, a.origin AS origin, head(collect(a)) AS a
  WITH c, collect(CASE WHEN coalesce(origin, 'own') = 'own' THEN a END) AS own, collect(CASE WHEN origin = 'published' THEN a END) AS published
  WITH c, head(own) AS mine, head(published) AS beside, coalesce(head(own), head(published)) AS a
  WITH CASE WHEN c:CellType THEN 'cell type' ELSE 'tissue' END AS section, {item: c.id, name: c.name,
    measure: CASE WHEN a.difference IS NOT NULL THEN 'difference of mean activation' ELSE 'odds ratio' END, value: coalesce(a.difference, a.odds_ratio),
    q: mine.q, q_published: beside.q, overlap: a.cells, origin: CASE WHEN mine IS NULL THEN 'published' WHEN beside IS NULL THEN 'own' ELSE 'both' END, run: a.run,
    detail: CASE WHEN a.odds_infinite THEN ['infinite odds ratio'] ELSE [] END + CASE WHEN a.donors > 0 THEN [toString(a.donors) + ' donors'] ELSE [] END
      + CASE WHEN a.test <> '' THEN [a.test] ELSE [] END,
    key: [CASE WHEN mine IS NULL THEN 1 ELSE 0 END, a.q, c.name]} AS row ORDER BY row.key
  WITH section, collect(row)[..$limit] AS rows
  UNWIND rows AS row
  RETURN CASE WHEN section = 'cell type' THEN 8 ELSE 9 END AS block, section, row
  UNION ALL
  MATCH (f)-[s:SAME_GENES]-(g:Feature)
  OPTIONAL MATCH (run:Run {id: s.run})
  WITH f, g, s ORDER BY run.started DESC, run.id DESC
  WITH f, g, head(collect(s)) AS s
  WITH CASE WHEN f.model <> g.model THEN 'counterpart' ELSE 'same genes' END AS section, {item: g.id, name: g.name, measure: 'weighted overlap of genes', value: s.overlap, q: s.q, overlap: s.shared, origin: 'own', run: s.run,
    detail: [x IN [g.label, g.published_label] WHERE coalesce(x, '') <> ''], key: [-s.overlap, g.id]} AS row ORDER BY row.key
  WITH section, collect(row)[..$limit] AS rows
  UNWIND rows AS row
  RETURN CASE WHEN section = 'counterpart' THEN 10 ELSE 11 END AS block, section, row
  UNION ALL
  MATCH (f)-[b:MEMBER_OF]->(m:Module)
  WITH DISTINCT m, b.run AS run
  WITH {item: m.id, name: m.name, measure: 'features', value: toFloat(m.size), detail: [coalesce(m.method, '')] + coalesce(m.top_terms, []), run: run, key: [m.id]} AS row
  RETURN 12 AS block, 'module' AS section, row ORDER BY row.key LIMIT $limit
  UNION ALL
  MATCH (f)-[r:AFFECTS|ATTRIBUTES_TO]-(g:Feature)
  WHERE r.weight IS NOT NULL OR rule.edge_where_given(r)
  MATCH (run:Run {id: r.run}) WHERE run.status = 'complete'
  WITH f, g, r, run ORDER BY run.started DESC, run.id DESC
  WITH f, g, startNode(r) = f AS out, type(r) AS type, head(collect({r: r, method: run.method})) AS newest
  WITH g, out, type, newest.r AS r, newest.method AS method
  WITH g, out, type, r, method, CASE type WHEN 'AFFECTS' THEN coalesce(rule.rank(r), r.mean) ELSE r.weight END AS value
  WITH CASE WHEN out THEN 'drives' ELSE 'driven by' END AS section, {item: g.id, name: g.name, measure: CASE WHEN type <> 'AFFECTS' THEN 'attribution weight' WHEN rule.rank(r) IS NULL THEN 'mean effect' WHEN rule.rank(r) = r.d THEN 'd' ELSE 'z of the computed effect' END, value: value, q: rule.q(r), overlap: r.n, run: r.run,
    origin: CASE WHEN method = 'imported' THEN 'imported' ELSE 'own' END,
    detail: CASE WHEN type <> 'AFFECTS' THEN [] WHEN coalesce(rule.effect(r), value) < 0 THEN ['support'] ELSE ['suppress'] END
      + CASE WHEN r.n_pos IS NULL THEN [] WHEN type = 'AFFECTS' THEN [toString(r.n_neg) + ' cells fall, ' + toString(r.n_pos) + ' rise'] ELSE ['adds in ' + toString(r.n_pos) + ' cells, takes in ' + toString(r.n_neg)] END,
    key: [-abs(value), g.id]} AS row ORDER BY row.key
  WITH section, collect(row)[..$limit] AS rows
  UNWIND rows AS row
  RETURN CASE WHEN section = 'drives' THEN 13 ELSE 14 END AS block, section, row
  UNION ALL
  MATCH (f)-[h:CO_OCCURS]-(g:Feature)
  WITH g, h ORDER BY h.pmi DESC
  WITH g, head(collect(h)) AS h
  WITH {item: g.id, name: g.name, measure: 'pointwise mutual information', value: h.pmi, overlap: h.count, run: h.run,
    detail: [x IN [g.label, g.published_label] WHERE coalesce(x, '') <> ''], key: [-h.pmi, g.id]} AS row
  RETURN 15 AS block, 'co-occurs' AS section, row ORDER BY row.key LIMIT $limit
  UNION ALL
  MATCH (f)-[r:RESPONDS_TO]->(p:Perturbation)
  WITH {item: p.id, name: p.name, measure: 'effect', value: r.effect, overlap: r.cells, run: r.run,
    detail: CASE WHEN r.degenerate THEN ['degenerate: fires ' + coalesce(toString(r.control_firings) + ' times', 'too rarely') + ' in the controls'] ELSE [] END,
    key: [coalesce(r.degenerate, false), -abs(r.effect), p.name]} AS row
  RETURN 16 AS block, 'responds to' AS section, row ORDER BY row.key LIMIT $limit
  UNION ALL
  MATCH (f)-[p:PART_OF]->(i:Intervention)
  OPTIONAL MATCH (run:Run {id: i.run})
  WITH DISTINCT i, p.role AS role, CASE i.verb WHEN 'ablate' THEN i.ratio ELSE i.effect END AS value, run
  WITH {item: i.id, name: i.name, measure: CASE i.verb WHEN 'ablate' THEN 'joint effect / single effects' ELSE 'mean change of the readout' END, value: value,
    overlap: i.cells, origin: CASE run.method WHEN 'imported' THEN 'imported' ELSE 'own' END, run: i.run,
    detail: [i.verb + ', ' + role] + CASE WHEN i.ratio_null IS NOT NULL THEN ['exactly additive ' + toString(round(i.ratio_null, 3))] ELSE [] END
      + CASE WHEN i.control IS NOT NULL THEN ['control ' + toString(round(i.control, 3))] ELSE [] END, key: [i.verb, -i.order, i.id]} AS row
  RETURN 17 AS block, 'intervention' AS section, row ORDER BY row.key LIMIT $limit
}
WITH f, block, section, row ORDER BY block, row.key
RETURN section, row.name AS name, row.measure AS measure, row.value AS value, row.q_calibrated AS q_calibrated, row.q_published AS q_published, row.q AS q,
  row.overlap AS overlap, coalesce(row.origin, '') AS origin, coalesce(row.detail, []) AS detail, coalesce(row.library, '') AS library, row.item AS item,
  coalesce(row.run, '') AS run, f.id AS feature
