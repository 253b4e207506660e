// name: contents
// title: Contents of the graph
// folder: Start here
// question: How many nodes and relationships of each kind are there?
// shape: table
// column what: node or relationship
// column kind: node label, or start, type and end of the relationship
// column count: number of them
// budget: 200

CALL () {
  MATCH (n) UNWIND labels(n) AS label
  WITH label, count(*) AS count WHERE NOT label STARTS WITH '_'
  RETURN 1 AS block, 'node' AS what, label AS kind, count
  UNION ALL
  MATCH (a)-[r]->(b)
  WITH labels(a)[0] + '-' + type(r) + '-' + labels(b)[0] AS kind, count(*) AS count
  RETURN 2 AS block, 'relationship' AS what, kind, count
}
RETURN what, kind, count
ORDER BY block, kind
LIMIT 200
