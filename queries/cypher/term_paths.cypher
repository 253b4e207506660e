// name: term_paths
// title: Term to term
// folder: Paths
// question: How do the features of one process affect the features of another?
// shape: table
// param run: run = "" -- id of a trace run; empty: edges of all complete trace runs, so that paths can pass through several layers
// param from_term: str = "" e.g. "T cell activation" -- part of the term's name; empty: any annotated feature
// param to_term: str = "" e.g. "translation" -- part of the term's name; empty: any annotated feature
// param q: float = 0.05 (0..1) -- maximum q of the edge
// param min_support: int = 6 (1..100000) -- minimum number of cells that show the effect
// param min_effect: float = 0.001 (0..1000) -- minimum absolute effect, as a share of the target's mean activation where it fires
// param term_q: float = 0.05 (0..1) -- maximum calibrated q of an own annotation, or adjusted p of a published one
// param origin: str = "own" e.g. "published" -- which annotations to use: own or published
// param features: int = 40 (1..200) -- maximum number of features of each term, smallest q first
// param annotation: str = "" e.g. "annotate-0123456789" -- annotate run or import to read gene lists, terms and cell types from; empty: the newest complete annotate run of each dictionary, or the imported annotation if there is none
// param limit: int = 20 (1..100000) -- maximum number of rows
// column from_term: term of the source
// column to_term: term of the target
// column steps: number of edges in the path
// column weakest: smallest |strength| along the path, by which rows are ordered
// column effect: support or suppress, from the product of the signs
// column features: addresses of the features along the path
// column names: captions of the features along the path
// column strength: d of each edge; z_computed where edges are computed edges
// column q: q of each edge
// column halves: number of halves of the cells that agree, for each edge
// budget: $limit
// note: The strongest of all direct edges and two-step paths between the chosen features are found; none is left out.

// current: the runs whose gene lists and terms are used
WITH current, $from_term AS wanted_sources, $to_term AS wanted_targets
CALL (wanted_sources, current) {
  MATCH (f:Feature)-[e:ENRICHED_FOR]->(term:Term)
  WHERE CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $term_q AND e.origin = $origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current) AND toLower(term.name) CONTAINS toLower(wanted_sources)
  WITH f, term, CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END AS q ORDER BY q, term.name
  WITH f, head(collect(term.name)) AS name, min(q) AS q ORDER BY q, f.id LIMIT $features
  RETURN collect({f: f, term: name}) AS sources
}
CALL (wanted_targets, current) {
  MATCH (f:Feature)-[e:ENRICHED_FOR]->(term:Term)
  WHERE CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END <= $term_q AND e.origin = $origin AND (e.origin = 'published' OR f.dictionary + ' ' + e.run IN current) AND toLower(term.name) CONTAINS toLower(wanted_targets)
  WITH f, term, CASE WHEN e.origin = 'published' THEN e.q ELSE e.q_calibrated END AS q ORDER BY q, term.name
  WITH f, head(collect(term.name)) AS name, min(q) AS q ORDER BY q, f.id LIMIT $features
  RETURN collect({f: f, term: name}) AS targets
}
MATCH (run:Run)
WHERE run.verb = 'trace' AND (run.id = $run OR ($run = '' AND run.status = 'complete'))
WITH sources, targets, collect(run.id) AS runs
// A bound for the answer: that many paths are at least this strong, so a path with a weaker edge is none of the strongest.
CALL (sources, targets, runs) {
  CALL (sources, targets, runs) {
    UNWIND sources AS one
    UNWIND targets AS other
    WITH one.f AS source, other.f AS target, runs
    MATCH (source)-[r:AFFECTS]->(target) WHERE r.run IN runs AND rule.edge(r)
    RETURN abs(rule.rank(r)) AS weakest
    UNION ALL
    UNWIND sources AS one
    WITH one.f AS source, targets, runs
    CALL (source, runs) {
      MATCH (source)-[r:AFFECTS]->(m:Feature) WHERE r.run IN runs AND rule.edge(r)
      RETURN r, m ORDER BY abs(rule.rank(r)) DESC LIMIT 20
    }
    UNWIND targets AS other
    WITH r, m, other.f AS target, runs
    MATCH (m)-[s:AFFECTS]->(target) WHERE s.run IN runs AND rule.edge(s)
    RETURN CASE WHEN abs(rule.rank(r)) < abs(rule.rank(s)) THEN abs(rule.rank(r)) ELSE abs(rule.rank(s)) END AS weakest
  }
  WITH weakest ORDER BY weakest DESC LIMIT $limit
  WITH collect(weakest) AS strongest
  RETURN CASE WHEN size(strongest) = $limit THEN strongest[-1] ELSE 0.0 END AS bound
}
UNWIND sources AS one
WITH one, one.f AS source, targets, runs, bound
CALL (source, targets, runs, bound) {
  UNWIND targets AS other
  WITH source, other, other.f AS target, runs, bound
  MATCH path = (source)-[r:AFFECTS]->(target) WHERE r.run IN runs AND abs(rule.rank(r)) >= bound AND rule.edge(r)
  RETURN path, other.term AS to_term
  UNION
  CALL (source, runs, bound) {
    MATCH (source)-[r:AFFECTS]->(m:Feature) WHERE r.run IN runs AND abs(rule.rank(r)) >= bound AND rule.edge(r)
    RETURN r, m
  }
  UNWIND targets AS other
  WITH source, r, m, other, other.f AS target, runs, bound
  MATCH path = (source)-[r]->(m)-[s:AFFECTS]->(target) WHERE s.run IN runs AND abs(rule.rank(s)) >= bound AND rule.edge(s)
  RETURN path, other.term AS to_term
}
WITH one.term AS from_term, to_term, path,
  reduce(weakest = 1.0e308, r IN relationships(path) | CASE WHEN abs(rule.rank(r)) < weakest THEN abs(rule.rank(r)) ELSE weakest END) AS weakest,
  nodes(path) AS passed, relationships(path) AS edges
ORDER BY weakest DESC, size(edges), [x IN passed | x.id] LIMIT $limit
RETURN from_term, to_term, size(edges) AS steps, weakest,
  CASE WHEN reduce(s = 1, r IN edges | s * CASE WHEN rule.effect(r) < 0 THEN 1 ELSE -1 END) > 0 THEN 'support' ELSE 'suppress' END AS effect,
  [x IN passed | x.id] AS features, [x IN passed | x.name] AS names, [r IN edges | rule.rank(r)] AS strength, [r IN edges | rule.q(r)] AS q,
  [r IN edges | r.halves] AS halves
