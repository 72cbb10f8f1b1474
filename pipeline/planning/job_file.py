"""Job files: YAML whose section ``metadata.job`` holds the options of a build. The rest belongs to Ray's launcher."""

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError, nearest
from pipeline.planning.options import OPTIONS

_MAX_SIZE = 1 << 17  # bytes: a hundred times the largest file of jobs/; the parser needs seconds for more
_PATHS = ("data-dir", "classes", "out", "log-json")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*|\{\w+\})", re.ASCII)  # as in a shell


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses repeated keys, aliases and tags, and leaves a number as the text that a flag would have."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            kind = "an alias" if isinstance(event, yaml.AliasEvent) else "a tag"
            problem = f"it has {kind}, which job files do without"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


_PLAIN = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_job_file(path: Path, overridden: Container[str] = ()) -> dict[str, Any]:
    """Returns the section ``metadata.job`` of a job file: strings, true and false, and lists of these, by option name.

    Args:
        overridden: options whose values are not checked, because a flag overrides them.

    Raises:
        UsageError: the file is missing, is not YAML, lacks the section, or holds a wrong value.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise UsageError(f"config {path}: {error.strerror}") from None
    if len(content) > _MAX_SIZE:
        raise UsageError(f"config {path} is larger than 128 KB, which no job file is")
    try:
        document = yaml.load(content.decode("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from None
    metadata = document.get("metadata") if isinstance(document, dict) else None
    section = metadata.get("job") if isinstance(metadata, dict) else None
    if not isinstance(section, dict):
        raise UsageError(f"config {path} has no section metadata.job; see jobs/cifar10.yaml")
    for key, value in section.items():
        if key not in OPTIONS:
            hint = nearest(str(key).replace("_", "-"), OPTIONS)
            raise UsageError(f"config {path}: unknown key {key!r} in metadata.job{hint}; known: {', '.join(OPTIONS)}")
        if value is not None and key not in overridden:
            try:
                OPTIONS[key].parse(key, value)
            except UsageError as error:
                raise UsageError(f"config {path}: {error}") from None
            variable = _VARIABLE.search(str(value)) if key in _PATHS else None
            if variable:
                raise UsageError(
                    f"config {path}: {key}: {variable[0]} is a shell's, nothing fills it in here; write the path itself, "
                    f"or give --{key}"
                )
    return section
