"""Which run's gene lists, terms and cell types of a feature are used, where several annotate runs
or imports have written some.

A question that reads them has the line ``// current: ...`` in its Cypher and the parameter
``annotation``. A subquery is put after that line; it gives the list ``current`` of texts
"dictionary run". For each dictionary they name its newest complete annotate run (or that of
``$annotation``) and the run that it annotates, whose gene lists it used if that is an imported
atlas; for a dictionary that is not annotated, they name its imports. A run is used for whole
dictionaries: a feature that it could not list has no genes, rather than those of an older run.
"dictionary cells run" names the newest of these runs that tested cell types. The dictionaries of an
annotate run are those whose features it wrote about, whether or not the run that it annotates used
them.
"""

from __future__ import annotations

MARK = "// current:"
CURRENT = """
CALL () {
  CALL () {
    MATCH (base:Run)-[:USED]->(d:Dictionary)
    WHERE base.verb <> 'annotate'
    OPTIONAL MATCH (own:Run {verb: 'annotate'})-[:FROM]->(base)
    WHERE (own.status = 'complete' OR own.id = $annotation)
      AND (EXISTS { (own)-[:USED]->(d) } OR NOT EXISTS { (own)-[:USED]->(:Dictionary) })
    RETURN d, base, own, 1 AS used
    UNION
    MATCH (base:Run)<-[:FROM]-(own:Run {verb: 'annotate'})-[:USED]->(d:Dictionary)
    WHERE own.status = 'complete' OR own.id = $annotation
    RETURN d, base, own, 0 AS used
  }
  WITH d.id AS dictionary, base, own, used
  ORDER BY coalesce(own.started, '') DESC, own.id DESC, used DESC, base.started DESC, base.id DESC
  WHERE $annotation IN ['', base.id, coalesce(own.id, '')]
  WITH dictionary, collect([base.id, own.id]) AS runs,
    head(collect(CASE WHEN own.findings CONTAINS '"cell_types"' THEN own.id END)) AS cells
  UNWIND CASE WHEN runs[0][1] IS NULL THEN runs ELSE runs[..1] END AS pair
  UNWIND [
    dictionary + ' ' + pair[0], dictionary + ' ' + pair[1], dictionary + ' cells ' + cells
  ] AS text
  RETURN collect(DISTINCT text) AS current
}
""".strip()


def expanded(lines: list[str]) -> list[str]:
    """Lines of a statement with the subquery after its mark."""
    return [
        part
        for line in lines
        for part in ([line, *CURRENT.splitlines()] if line.startswith(MARK) else [line])
    ]
