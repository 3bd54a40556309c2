"""An event's body for a screen: what says who somebody is, is covered; what says what happened, is not.

What is shown is listed, by the field's name and by what its value looks like, not what is hidden: what nobody
has thought of is covered, at any depth, names of fields too.
"""

import json
import re
from typing import Any

COVER = "•••"
# Of an event and of what it is about; each is shown only if its value looks as it should.
TYPES = re.compile(r"object|type|event_type|resource_type")
VERSIONS = re.compile(r"(resource|event|api)_version")
CODES = re.compile(
    r"status|state|currency|currency_code|reason|(status|reason|failure|decline|outcome|error)_(code|reason)"
    r"|outcome_code|network_status|brand|rel|method|intent|capture_method|confirmation_method|mode"
    r"|payment_status|dispute_(state|channel)|dispute_life_cycle_stage|stage|disbursement_mode"
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
    r"fee|net|quantity|(unit_)?amount(_[a-z]{1,20})?|application_fee_amount|pending_webhooks"
)
MONEY = re.compile(r"value|total")  # beside a currency
TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,79}")
VERSION = re.compile(r"[0-9][a-z0-9.-]{0,29}")
WORD = re.compile(r"[a-z]{1,30}(_[a-z]{1,20}){0,5}|[A-Z]{1,30}([_-][A-Z]{1,20}){0,5}")
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
    r"metadata|custom_fields|.*tax.*|.*name|.*address.*|custom|custom_id|note.*|.*description|message.*|evidence.*"
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


def _masked(name: str, value: Any, depth: int, is_money: bool = False) -> Any:
    """``is_money``: it stands beside a currency."""
    if depth > DEEPEST:
        return COVER
    if isinstance(value, dict):
        is_free = FREE.fullmatch(name) is not None
        return {COVER: f"{len(value)} fields"} if is_free and value else _fields(value, depth)
    if isinstance(value, list):
        return [_masked(name, each, depth + 1) for each in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    return value if _is_harmless(name, value, is_money) else COVER


def _fields(value: dict[str, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    is_money = not {"currency", "currency_code"}.isdisjoint(value)
    for number, (key, each) in enumerate(value.items()):
        if FIELD.fullmatch(key):
            shown[key] = _masked(key, each, depth + 1, is_money)
        else:
            shown[f"{COVER} {number}"] = COVER
    return shown


def _is_harmless(name: str, value: str | float, is_money: bool) -> bool:
    text = str(value)
    if isinstance(value, int | float):
        return (
            any(names.fullmatch(name) for names in (TIMES, AMOUNTS)) and DECIMAL.fullmatch(text) is not None
        )
    if is_money and MONEY.fullmatch(name):
        return DECIMAL.fullmatch(text) is not None
    return any(names.fullmatch(name) and looks.fullmatch(text) for names, looks in RULES)


RULES = (
    (TYPES, TYPE),
    (VERSIONS, VERSION),
    (CODES, WORD),
    (IDS, ID),
    (TIMES, INSTANT),
    (AMOUNTS, DECIMAL),
)
