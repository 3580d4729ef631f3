"""The route of the catalog: every kind that a study may name, with its JSON Schema, and the published data sets."""

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter
from starlette.responses import Response

from schemas.functions import AnalyticFunction
from schemas.json_schema import study_json_schema
from schemas.optimizers import Optimizer
from schemas.plugins import PluginFacts
from schemas.probes import Probe
from schemas.schedules import Decay, Warmup
from schemas.tags import members
from schemas.workloads import Dataset, Loss, Model, Text, TextModel, Workload
from service.documented import problems
from service.resources import CatalogResource, DatasetResource, KindResource, PluginResource
from service.routes import answer
from service.security import LedgerOf, Reader
from workers.studies import published_plugins

FAMILIES: dict[str, tuple[Any, ...]] = {
    "workload": (Workload,),
    "model": (Model, TextModel),
    "dataset": (Dataset, Text),
    "loss": (Loss,),
    "function": (AnalyticFunction,),
    "optimizer": (Optimizer,),
    "warmup": (Warmup,),
    "decay": (Decay,),
    "probe": (Probe,),
}
"""Family -> the unions that it is made of."""

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/catalog", operation_id="get_catalog", response_model=CatalogResource, responses=problems(401, 403))
def get_catalog(caller: Reader, ledger: LedgerOf) -> Response:
    """Every kind with its JSON Schema, the schema of a whole study, and the data sets that studies may name."""
    datasets = [
        DatasetResource(kind=row.kind, sha256=row.sha256, facts=row.facts, published_at=row.published_at)
        for row in ledger.datasets()
    ]
    plugins = [_plugin(facts) for facts in published_plugins(ledger).values()]
    return answer(CatalogResource(kinds=_kinds(), study=_study_schema(), datasets=datasets, plugins=plugins))


def _plugin(facts: PluginFacts) -> PluginResource:
    options = sorted(facts.parameters, key=lambda parameter: not parameter.is_required)
    return PluginResource(**facts.source.model_dump(), options=[parameter.name for parameter in options])


@cache
def _kinds() -> list[KindResource]:
    # A part of one's own is one kind, whatever it is used in.
    pairs = ((family, model) for family, unions in FAMILIES.items() for union in unions for model in members(union))
    return [_kind(family, model) for family, model in dict.fromkeys(pairs)]


@cache
def _study_schema() -> dict[str, Any]:
    return study_json_schema()


def _kind(family: str, model: Any) -> KindResource:
    schema = TypeAdapter(model).json_schema()
    tag = schema["properties"]["task" if family == "workload" else "kind"]
    said = {"family": family, "kind": tag["const"], "description": schema.get("description", ""), "schema": schema}
    return KindResource.model_validate(said)
