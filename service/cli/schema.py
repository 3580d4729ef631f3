"""`warmup-bench schema`: the JSON Schema of a study document, or the kinds that may stand in one."""

from typing import Annotated

import typer

from service.cli.options import Json, in_columns, print_json


def schema(
    kinds: Annotated[bool, typer.Option("--kinds", help="List every kind instead, by what it is a kind of.")] = False,
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a study document.

    For an editor that completes and checks. It is JSON with or without --json.
    """
    from schemas.json_schema import study_json_schema
    from schemas.not_yet import built_kinds

    if not kinds:
        print_json(study_json_schema())
        return
    found = built_kinds()
    if as_json:
        print_json(found)
        return
    for family, names in found.items():
        print(in_columns(family, ", ".join(names), indent=11))
