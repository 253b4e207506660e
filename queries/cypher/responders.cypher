// name: responders
// title: Responses to knock-downs
// folder: Regulation
// question: Which knock-downs change which features, and are targets of the knocked-down gene among their top genes?
// shape: table
// param gene: str = "" e.g. "GATA1" -- symbol of the perturbed gene; empty: all
// param feature: feature = "" -- address, or its last two parts; empty: all
// param degenerate: int = 1 (0..1) -- 0: exclude effects that divide by a standard deviation near zero
// param library: str = "TRRUST" e.g. "collectri" -- regulon library; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 50 (1..100000) -- maximum number of rows
// column perturbation: name
// column gene: symbol of the target
// column is_tf: true where it is a transcription factor
// column feature: address
// column name: caption
// column effect: change as published
// column cells: number of perturbed cells
// column control_firings: positions of the control cells where the feature fires
// column degenerate: true where the effect divides by a standard deviation near zero; these rows come last
// column gene_rank: rank of the perturbed gene among the feature's genes; empty if it is not among them
// column regulated: number of its targets among the feature's genes
// column label: label: the best term
// column published_label: label as published
// budget: $limit

// current: the runs whose gene lists and terms are used
WITH current, $feature AS address, $gene AS symbol
MATCH (f:Feature)-[r:RESPONDS_TO]->(p:Perturbation)
WHERE address IN ['', f.id] AND symbol IN ['', p.symbol] AND ($degenerate = 1 OR NOT coalesce(r.degenerate, false))
WITH current, f, r, p ORDER BY coalesce(r.degenerate, false), abs(r.effect) DESC, p.name, f.id LIMIT $limit
RETURN p.name AS perturbation, coalesce(p.symbol, '') AS gene, p.is_tf AS is_tf, f.id AS feature, f.name AS name, r.effect AS effect, r.cells AS cells,
  r.control_firings AS control_firings, coalesce(r.degenerate, false) AS degenerate,
  head(COLLECT { MATCH (f)-[l:LOADS_ON]->(g:Gene) WHERE g.symbol = p.symbol AND f.dictionary + ' ' + l.run IN current RETURN l.rank AS rank ORDER BY rank LIMIT 1 }) AS gene_rank,
  COLLECT { MATCH (tf:Gene)-[x:REGULATES]->(g:Gene)<-[l:LOADS_ON]-(f) WHERE tf.symbol = p.symbol AND $library IN ['', x.library] AND f.dictionary + ' ' + l.run IN current RETURN DISTINCT g.symbol AS target ORDER BY target } AS regulated,
  coalesce(listed.label(f), '') AS label, coalesce(f.published_label, '') AS published_label
