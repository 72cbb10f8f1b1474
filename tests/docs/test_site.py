"""The hooks of the documentation site. ``make docs`` checks the rest: links, anchors, and that no page is left out."""

import importlib.util
from types import ModuleType, SimpleNamespace

import pytest

from tests.docs.conftest import ROOT

pytest.importorskip("mkdocs", reason="make docs has not installed MkDocs")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=name))


@pytest.mark.parametrize(
    ("name", "link", "expected"),
    [
        ("index.md", "[build](docs/build.md#sources)", "[build](build.md#sources)"),
        ("index.md", "![ranks](docs/ranks.png)", "![ranks](ranks.png)"),
        ("index.md", "[licence](LICENSE)", "licence"),
        ("cifar.md", "[start](../README.md)", "[start](index.md)"),
        ("cifar.md", "[clients](clients.md)", "[clients](clients.md)"),
        ("cifar.md", "[pipeline/\\_\\_main\\_\\_.py](../pipeline/__main__.py)", "`pipeline/__main__.py`"),
        ("cifar.md", "[paper](https://example.org)", "[paper](https://example.org)"),
        ("cifar.md", "[missing](../missing.md)", "[missing](../missing.md)"),  # MkDocs reports it
        ("cifar.md", "Text:\n- item\n- item", "Text:\n\n- item\n- item"),
        ("cifar.md", "```python\nimages[7](../README.md)\n```", "```python\nimages[7](../README.md)\n```"),
    ],
)
def test_pages_are_changed_for_the_site(hooks: ModuleType, name: str, link: str, expected: str) -> None:
    assert hooks.on_page_markdown(link, page(name)) == expected


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/x.js">',
        '<link rel="stylesheet" href="//example.org/x.css">',
        "<img alt='' src=https://example.org/x.png>",
    ],
)
def test_a_page_that_loads_from_another_host_fails_the_build(hooks: ModuleType, tag: str) -> None:
    assert hooks.on_post_page('<a href="https://example.org">', page("cifar.md"))
    with pytest.raises(Exception, match=r"cifar\.md.*example\.org"):
        hooks.on_post_page(f"<p>{tag}", page("cifar.md"))


def test_the_reference_has_every_public_name(hooks: ModuleType) -> None:
    import pipeline.data

    reference = hooks.api_page()
    assert [name for name in pipeline.data.__all__ if f"::: pipeline.data.{name}\n" not in reference] == []
    assert "::: pipeline.rank_image\n" in reference
