// name: regulator_features
// title: Features of a regulator
// folder: Regulation
// question: Which features have this transcription factor, or its targets, among their genes?
// shape: table
// param tf: str e.g. "G1" -- symbol of the transcription factor
// param min_targets: int = 2 (1..1000) -- minimum number of targets among a feature's top genes
// param top: int = 20 (1..1000) -- number of top genes of each feature to use
// param library: str = "TRRUST" e.g. "collectri" -- regulon library; empty: all
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 20 (1..100000) -- maximum number of rows
// column feature: address
// column name: caption
// column model: name of the model
// column layer: 0-based layer
// column targets: number of its targets among the top genes
// column activation: of these, activated by the factor
// column repression: of these, repressed by the factor
// column genes: these targets
// column tf_rank: rank of the factor itself among the top genes; empty if it is not among them
// column q: Benjamini-Hochberg q of its target set, own
// column q_calibrated: calibrated q of its target set, own
// column q_published: published adjusted p of transcription factors among the top genes
// column label: label: the best term
// budget: $limit
// note: Factors with many targets have high counts; only `q` and `q_calibrated` compare with chance. They are empty where the target set did not pass or was not tested.

// current: the runs whose gene lists and terms are used
MATCH (tf:Gene {symbol: $tf})
CALL (tf, current) {
  CALL (tf, current) {
    MATCH (tf)-[x:REGULATES]->(g:Gene)<-[l:LOADS_ON]-(f:Feature)
    WHERE l.rank <= $top AND $library IN ['', x.library] AND f.dictionary + ' ' + l.run IN current
    WITH DISTINCT f, g, x.mode AS mode ORDER BY g.symbol
    RETURN f, collect(DISTINCT g.symbol) AS genes, count(DISTINCT CASE WHEN mode IN ['Activation', 'Both'] THEN g END) AS activation,
      count(DISTINCT CASE WHEN mode IN ['Repression', 'Both'] THEN g END) AS repression
    UNION ALL
    MATCH (tf)<-[l:LOADS_ON]-(f:Feature)
    WHERE l.rank <= $top AND f.dictionary + ' ' + l.run IN current
    RETURN DISTINCT f, [] AS genes, 0 AS activation, 0 AS repression
  }
  WITH f, reduce(all = [], x IN collect(genes) | all + x) AS genes, sum(activation) AS activation, sum(repression) AS repression
  WITH f, genes, activation, repression, head(COLLECT { MATCH (f)-[l:LOADS_ON]->(tf) WHERE l.rank <= $top AND f.dictionary + ' ' + l.run IN current RETURN l.rank AS rank ORDER BY rank LIMIT 1 }) AS tf_rank
  WHERE size(genes) >= $min_targets OR tf_rank IS NOT NULL
  RETURN f, genes, activation, repression, tf_rank
}
CALL (f, current) {
  OPTIONAL MATCH (f)-[e:ENRICHED_FOR]->(t:Term)
  WHERE CASE WHEN e.origin = 'published' THEN t.library STARTS WITH 'TRRUST' ELSE t.accession = $tf AND $library IN ['', t.library] AND f.dictionary + ' ' + e.run IN current END
  RETURN min(CASE WHEN e.origin <> 'published' THEN e.q END) AS q, min(CASE WHEN e.origin <> 'published' THEN e.q_calibrated END) AS q_calibrated,
    min(CASE WHEN e.origin = 'published' THEN e.q END) AS q_published
}
RETURN f.id AS feature, f.name AS name, f.model AS model, f.layer AS layer, size(genes) AS targets, activation, repression, genes, tf_rank, q, q_calibrated, q_published,
  coalesce(listed.label(f), '') AS label
ORDER BY q_calibrated, q, targets DESC, tf_rank, feature
LIMIT $limit
