import pytest

from scircuit.core.address import Address, parse, slug


def test_printed_form_is_read_back():
    address = Address("geneformer-v2-316m", "k562-x4-k32", 5, 898)
    assert str(address) == "geneformer-v2-316m/k562-x4-k32/L05/F0898"
    assert parse(str(address)) == address
    assert parse("m/d/L17/F12345") == Address("m", "d", 17, 12345)
    assert address.short == "L05/F0898"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("m/d/L5/F0898", "'L5'"),
        ("m/d/L5/F898", "expected m/d/L05/F0898"),
        ("m/d/5/898", "expected m/d/L05/F0898"),
        ("m/d/L05/F898", "'F898'"),
        ("m/d/L05", "3 parts"),
        ("M/d/L05/F0898", "'M'"),
        ("m/d/L05/F0898/x", "5 parts"),
        ("m/d/L005/F0898", "one printed form"),
        ("m/d/L05/F00898", "one printed form"),
        ("m/d e/L05/F0898", "'d e'"),
    ],
)
def test_anything_else_is_refused(text, names):
    with pytest.raises(ValueError, match="address") as error:
        parse(text)
    assert names in str(error.value)


def test_slug():
    assert slug("Geneformer V2 (316M)") == "geneformer-v2-316m"
    with pytest.raises(ValueError, match="no letter a-z and no digit"):
        slug("???")
