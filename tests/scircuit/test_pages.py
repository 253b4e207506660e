import pytest

from scircuit.cli.pages import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_do_not_drift(root, name):
    on_disk = (root / "docs" / name).read_text()
    assert on_disk == PAGES[name]().rstrip("\n") + "\n", (
        f"docs/{name} differs from the declarations: run `make pages`"
    )
