"""docs/openapi.yaml: valid, and what the app really offers."""

from typing import Any

import yaml
from openapi_spec_validator import validate

from chalicelib import errors
from chalicelib.payments import STATES, Payment
from tests.conftest import ROOT

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())


def test_the_document_is_valid() -> None:
    """By the standard's own schema."""
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.")


def test_it_has_the_apps_routes(daybook: Any) -> None:
    """Every route with its method, and no other."""
    routes = {(path, method) for path, by in daybook.app.routes.items() for method in by}
    documented = {(path, method.upper()) for path, by in DOCUMENT["paths"].items() for method in by}
    assert documented == routes


def test_it_has_the_payments_fields_and_the_errors_codes() -> None:
    """As the code has them."""
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["Payment"]["properties"]) == {*Payment.__slots__, "events"}
    assert set(STATES) < set(schemas["Payment"]["properties"]["status"]["enum"])
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    assert set(schemas["Refusal"]["properties"]["Code"]["enum"]) == codes - {"Refused"}
