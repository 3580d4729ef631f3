"""What each preset is for, in a line."""

from functools import cache

from schemas.presets import preset_text
from service.spec_files import parse_document


@cache
def preset_description(name: str) -> str:
    """The preset's own description; where it has none, the comment that it begins with."""
    text = preset_text(name)
    comment = text.partition("\n")[0].removeprefix("# ") if text.startswith("# ") else ""
    return str(parse_document(text).get("description") or comment)
