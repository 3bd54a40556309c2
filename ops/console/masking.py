"""An event's body for a screen: what says who somebody is, is covered; what says what happened, is not.

What is shown is listed, by the field's name and by what its value looks like, not what is hidden: what nobody
has thought of is covered, at any depth, names of fields too.
"""

import json
import re
from typing import Any

COVER = "•••"
# Of an event and of what it is about; each is shown only if its value looks as it should.
CODES = re.compile(
    r"object|type|event_type|resource_type|resource_version|event_version|status|state|currency|currency_code"
    r"|api_version|reason|(status|reason|failure|decline|outcome|error)_(code|reason)|outcome_code|network_status"
    r"|brand|rel|method|intent|capture_method|confirmation_method|mode|payment_status|dispute_(state|channel)"
    r"|dispute_life_cycle_stage|stage|disbursement_mode"
)
IDS = re.compile(
    r"id|(payment_intent|charge|latest_charge|refund|dispute|invoice|subscription|balance_transaction|customer"
    r"|payment_method|source|account|request|idempotency_key|parent_payment)"
    r"|(capture|sale|order|authorization|dispute|transaction|seller_transaction|billing_agreement|merchant)_id"
)
TIMES = re.compile(
    r"created|updated|.{1,40}_time|.{1,40}_at|current_period_(start|end)|arrival_date|available_on"
)
AMOUNTS = re.compile(
    r"value|total|fee|net|quantity|(unit_)?amount(_[a-z]{1,20})?|application_fee_amount|pending_webhooks"
)
CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
# a provider's ids: Stripe's have a word and digits, PayPal's capitals and digits
ID = re.compile(
    r"(evt|pi|ch|py|re|pyr|dp|du|in|sub|si|cus|pm|src|txn|acct|req|cs|price|prod|seti|po|tr|fee)"
    r"(_(test|live))?_[A-Za-z0-9]{8,80}"
    r"|(WH|PP|PAY|PAYID|I|P|B)(-[A-Z0-9]{1,24}){1,4}|(?=[A-Z0-9]*[A-Z])(?=[A-Z0-9]*\d)[A-Z0-9]{17}"
)
INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]{5,15}(Z|[+-]\d\d:\d\d)?)?")
DECIMAL = re.compile(r"-?\d{1,12}(\.\d{1,3})?")
FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}|[a-z]+[A-Za-z]{1,39}")
# Inside these people write what they want, under names of their own.
FREE = re.compile(
    r"metadata|custom_fields|.*name|.*address.*|custom|custom_id|note.*|.*description|message.*|evidence.*"
)
DEEPEST = 100  # levels; a provider's own have about ten


def masked(body: bytes) -> str:
    """The body as indented JSON, masked; as nothing but its size where it is none, or deeper than any is."""
    try:
        return _text(_masked("", json.loads(body), 0))
    except (ValueError, RecursionError):
        return f"{COVER} ({len(body)} bytes that are no JSON)"


def plain(body: bytes) -> str:
    """The body as indented JSON, whole; as it came, where it is none or too deep."""
    try:
        return _text(json.loads(body))
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _text(content: Any) -> str:
    """Half of a surrogate pair is JSON, but no text that a page can hold."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _masked(name: str, value: Any, depth: int) -> Any:
    if depth > DEEPEST:
        return COVER
    if isinstance(value, dict):
        is_free = FREE.fullmatch(name) is not None
        return {COVER: f"{len(value)} fields"} if is_free and value else _fields(value, depth)
    if isinstance(value, list):
        return [_masked(name, each, depth + 1) for each in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    return value if _is_harmless(name, value) else COVER


def _fields(value: dict[str, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (key, each) in enumerate(value.items()):
        is_field = FIELD.fullmatch(key) is not None
        shown[key if is_field else f"{COVER} {number}"] = _masked(key, each, depth + 1) if is_field else COVER
    return shown


def _is_harmless(name: str, value: str | float) -> bool:
    text = str(value)
    rules = ((CODES, CODE), (IDS, ID), (TIMES, INSTANT), (AMOUNTS, DECIMAL))
    if isinstance(value, int | float):
        rules = ((TIMES, DECIMAL), (AMOUNTS, DECIMAL))  # type: ignore[assignment]
    return any(names.fullmatch(name) and looks.fullmatch(text) for names, looks in rules)
