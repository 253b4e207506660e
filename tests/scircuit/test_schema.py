import pyarrow as pa
import pytest

from scircuit.core import schema as records


def test_every_kind_has_an_arrow_schema_with_its_keys_first():
    for kind in [*records.NODES, *records.RELATIONSHIPS]:
        schema = records.arrow_schema(kind)
        keys = records.keys_of(kind)
        assert tuple(schema.names[: len(keys)]) == keys
        assert len(set(schema.names)) == len(schema.names)
        assert all(p.doc for p in records.properties_of(kind)), (
            f"{kind} has a property without its source"
        )


def test_relationships_join_declared_labels():
    for rel in records.RELATIONSHIPS.values():
        assert rel.source in records.NODES
        assert rel.target in records.NODES


def test_a_column_the_schema_lacks_is_refused():
    table = pa.table({"id": ["a"], "hubness": [1.0]})
    with pytest.raises(ValueError, match="Feature has no property hubness"):
        records.conform("Feature", table)


def test_missing_and_null_keys_are_refused():
    with pytest.raises(ValueError, match="lacks the key column target"):
        records.conform("Feature-AFFECTS-Feature", pa.table({"source": ["a"], "d": [1.0]}))
    with pytest.raises(ValueError, match="1 rows without 'id'"):
        records.conform("Gene", pa.table({"id": ["a", None], "symbol": ["A", "B"]}))


def test_values_that_would_lose_content_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        records.conform(
            "Feature-AFFECTS-Feature", pa.table({"source": ["a"], "target": ["b"], "n": [1.5]})
        )


def test_conform_orders_and_casts():
    table = records.conform(
        "Feature-AFFECTS-Feature",
        pa.table({"n": pa.array([3], pa.int32()), "target": ["b"], "source": ["a"], "run": ["r"]}),
    )
    assert table.column_names == ["source", "target", "run", "n"]
    assert table.schema.field("n").type == pa.int64()


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match="Feature-AFFECTS-Feature"):
        records.arrow_schema("AFFECTS")
