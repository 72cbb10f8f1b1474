"""Makes docs/api.md, the reference of the public API, from its docstrings: ``python docs/api.py``."""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pipeline
from pipeline import data
from pipeline.numerics import cut, svd, variants
from pipeline.report import rank_image

TARGET = Path(__file__).parent / "api.md"
HEAD = "# Public API\n\nMade by `python docs/api.py` from the docstrings; do not edit.\n"
PARTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "pipeline": (pipeline, ("rank_image",)),
    "pipeline.report.rank_image": (rank_image, ("RankedImage",)),
    "pipeline.data": (data, tuple(data.__all__)),
    "pipeline.numerics.svd": (svd, ("Decomposition", "Truncation", "decompose", "truncate", "factors")),
    "pipeline.numerics.variants": (variants, ("Variant",)),
    "pipeline.numerics.cut": (cut, ("Cut", "Statistics", "cut")),
}


def reference() -> str:
    """The whole document."""
    parts = [HEAD]
    for module, (namespace, names) in PARTS.items():
        parts.append(f"\n## {module}\n\n{_text(inspect.getdoc(namespace))}")
        parts += [_entry(name, getattr(namespace, name)) for name in names]
    return "".join(parts)


def _entry(name: str, of: Any) -> str:
    tree = _parsed(of)
    if isinstance(tree, ast.FunctionDef):
        return f"\n### {name}\n```text\n{_signature(name, tree)}\n```\n{_text(inspect.getdoc(of))}"
    assert isinstance(tree, ast.ClassDef)
    made = next((item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    shape = _signature(name, made) if made else f"class {name}"
    return f"\n### {name}\n```text\n{shape}\n```\n{_text(inspect.getdoc(of))}" + "".join(
        _method(item) for item in tree.body if isinstance(item, ast.FunctionDef)
    )


def _method(item: ast.FunctionDef) -> str:
    documented = ast.get_docstring(item)
    public = not item.name.startswith("_") or item.name in ("__getitem__", "__add__")
    if not documented or not public or any("setter" in ast.unparse(one) for one in item.decorator_list):
        return ""
    plain = any("property" in ast.unparse(one) for one in item.decorator_list)
    shape = f"{item.name}: {ast.unparse(item.returns)}" if plain and item.returns else _signature(item.name, item)
    return f"\n#### {item.name}\n```text\n{shape}\n```\n{_text(documented)}"


def _parsed(of: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]


def _signature(name: str, function: ast.FunctionDef) -> str:
    """As it is called: without ``self`` and ``cls``, an argument to a line where there are many."""
    words = [word for word in _arguments(function.args) if word not in ("self", "cls")]
    result = f" -> {ast.unparse(function.returns)}" if function.returns and function.name != "__init__" else ""
    line = f"{name}({', '.join(words)}){result}"
    if len(line) <= 110:
        return line
    listed = "".join(f"    {word},\n" for word in words)
    return f"{name}(\n{listed}){result}"


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument with its type and default."""
    given = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(given) - len(arguments.defaults)) + list(arguments.defaults)
    return [
        ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")
        for argument, default in zip(given, defaults, strict=True)
    ]


def _text(documentation: str | None) -> str:
    """Google style as Markdown: sections become bold, their entries lists."""
    lines: list[str] = []
    section = ""
    for line in (documentation or "").splitlines():
        indent = len(line) - len(line.lstrip())
        if not indent and line.rstrip(":") in ("Args", "Attributes", "Returns", "Raises") and line.endswith(":"):
            section = line.rstrip(":")
            lines += [f"**{section}**", ""]
        elif section and line.strip():
            entry = indent == 4 and section != "Returns" and ":" in line
            name, _, rest = line.strip().partition(":")
            lines.append(
                f"- `{name}`:{rest}" if entry else f"  {line.strip()}" if section != "Returns" else line.strip()
            )
        else:
            lines.append(line)
    return "\n".join(lines).replace("``", "`") + "\n"


if __name__ == "__main__":
    TARGET.write_text(reference())
