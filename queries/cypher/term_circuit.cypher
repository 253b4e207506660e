// name: term_circuit
// title: Circuit of a term, drawn
// folder: Paths
// question: What does the circuit of a GO term or pathway look like?
// shape: graph
// param run: run = "" -- id of a trace run; empty: the newest complete one
// param term: str = "" e.g. "T cell activation" -- part of the term's name; empty: the term with most features in the run
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param term_q: float = 0.05 (0..1) -- maximum calibrated q of an own annotation, or adjusted p of a published one
// param origin: str = "own" e.g. "published" -- which annotations to use: own or published
// param features: int = 15 (1..60) -- maximum number of features of the term, strongest hubs first
// param edges: int = 5 (1..20) -- number of strongest edges of each feature
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// column path: the path drawn
// budget: 220

// current: the runs whose gene lists and terms are used
WITH current, $run AS wanted, $term AS text
MATCH (run:Run)
WHERE run.id = wanted OR (wanted = '' AND run.verb = 'trace' AND run.status = 'complete')
WITH current, run, text ORDER BY run.started DESC, run.id DESC LIMIT 1
CALL (run, text, current) {
  MATCH (t:Term)<-[e:ENRICHED_FOR]-(f:Feature)
  WHERE toLower(t.name) CONTAINS toLower(text) AND CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $term_q AND e.origin = $origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current) AND EXISTS { (f)-[:AFFECTS {run: run.id}]-() }
  WITH t, text, count(DISTINCT f) AS features
  RETURN t ORDER BY toLower(t.name) = toLower(text) DESC, features DESC, t.name LIMIT 1
}
CALL (run, t, current) {
  MATCH (t)<-[e:ENRICHED_FOR]-(f:Feature)
  WHERE CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $term_q AND e.origin = $origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current) AND EXISTS { (f)-[:AFFECTS {run: run.id}]-() }
  WITH run, f, e ORDER BY CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END
  WITH run, f, head(collect(e)) AS e
  RETURN f, e ORDER BY found.hub_rank(f), CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END, f.id LIMIT $features
}
WITH run, t, collect(f) AS members, collect(e) AS annotations
CALL (run, t, members, annotations) {
  UNWIND annotations AS e
  MATCH path = ()-[e]->(t)
  RETURN path
  UNION
  UNWIND members AS f
  CALL (run, f) {
    MATCH path = (f)-[r:AFFECTS]-(:Feature)
    WHERE r.run = run.id AND rule.edge(r)
    RETURN path ORDER BY abs(rule.rank(r)) DESC LIMIT $edges
  }
  RETURN path
  LIMIT 220
}
RETURN path
LIMIT 280
