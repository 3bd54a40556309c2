"""docs/openapi.yaml: valid, and what the app really offers."""

import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from openapi_spec_validator import validate

from chalicelib import errors
from chalicelib.payments import Payment
from chalicelib.payments.books import STATUSES as OF_PAYMENTS
from chalicelib.subscriptions import Subscription
from chalicelib.subscriptions.standing import STATUSES
from ops.sender import StripeSigner
from tests.conftest import ROOT, TORTURE
from tests.gateway import Gateway, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
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
    granted = {"access", "access_until", "access_reason", "events"}
    names = {each.name for each in fields(Subscription)}
    assert set(schemas["Subscription"]["properties"]) == {*names, *granted}
    assert schemas["SubscriptionStatus"]["enum"] == list(STATUSES)
    assert sorted(schemas["PaymentStatus"]["enum"]) == sorted(OF_PAYMENTS)
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    assert set(schemas["Refusal"]["properties"]["Code"]["enum"]) == codes - {"Refused"}


def signed(path: str, body: bytes) -> dict[str, str]:
    """Stripe's signature, so that not all of it ends at the door."""
    return StripeSigner("whsec_new").headers(body, time.time_ns() // 1_000_000) if "stripe" in path else {}


def test_schemathesis_finds_no_answer_that_the_document_does_not_have(
    daybook: Any, tmp_path: Path, figures: dict[str, float]
) -> None:
    """Whatever it makes of the document, valid and not; webhooks to Stripe's route are signed."""
    gateway = Gateway(daybook.app, signed)
    with serving(gateway) as url:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                str(ROOT / "docs" / "openapi.yaml"),
                *("--url", url, "--checks", ",".join(CHECKS), "--seed", "1", "--no-color"),
                *("--max-examples", "300" if TORTURE else "10"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout.partition("= FAILURES =")[2] or done.stdout
    assert {200, 400, 401, 404} <= set(gateway.answers)
    figures["requests by schemathesis"] = len(gateway.answers)
