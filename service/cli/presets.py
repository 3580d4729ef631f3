"""`warmup-bench presets [NAME]`: the studies that ship, or one of them as YAML."""

from typing import Annotated

import typer

from schemas.errors import Problem, SpecError
from schemas.presets import preset_names, preset_text
from schemas.problems import did_you_mean, show
from service.cli.options import Json, in_columns, print_json


def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's YAML (save it, change it, run it).")] = None,
    as_json: Json = False,
) -> None:
    """List the studies that ship with the program, or print one."""
    from service.preset_descriptions import preset_description
    from service.spec_files import parse_document

    if name is not None:
        if name not in preset_names():
            known = list(preset_names())
            raise SpecError([Problem("preset", show(name), f"one of {', '.join(known)}{did_you_mean(name, known)}")])
        if as_json:
            print_json(parse_document(preset_text(name)))
        else:
            print(preset_text(name), end="")
        return
    found = [(preset, preset_description(preset)) for preset in preset_names()]
    if as_json:
        print_json([{"name": preset, "description": description} for preset, description in found])
        return
    indent = max(map(len, preset_names())) + 2
    for preset, description in found:
        print(in_columns(preset, description, indent=indent))
