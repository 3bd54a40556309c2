"""An event's body for a screen: what says who somebody is, is covered; what says what happened, is not.

What is shown is listed, not what is hidden: a field that nobody has thought of is covered.
"""

import json
import re
from typing import Any

COVER = "•••"
# Words, codes, ids and times: by the field's name...
SHOWN = re.compile(
    r"(id|object|type|event_type|resource_type|resource_version|event_version|status|state|currency|currency_code"
    r"|created|.*_time|.*_at|api_version|reason|.*_reason|.*_code|outcome.*|network_status|brand|rel"
    r"|method|summary|intent|capture_method|confirmation_method|mode|payment_status|dispute_.*|stage|livemode)"
)
# ...or as what they are: a provider's ids, an instant, a decimal
PLAIN = re.compile(
    r"[a-z]{2,10}_[A-Za-z0-9]{8,}|(?=.*[A-Z])(?=.*\d)[A-Z0-9]{13,17}|\d{4}-\d\d-\d\dT[\d:.]+Z?|-?\d+\.\d+|true|false"
)
HIDDEN = re.compile(
    r"last4|exp_month|exp_year|.*zip.*|.*postal.*|.*phone.*|.*ip_?address.*|iin|issuer|.*tax.*|dob|.*birth.*"
)
AMOUNT = re.compile(r"(value|total) -?\d+(\.\d+)?")
FREE = re.compile(r"metadata|custom_fields|.*name|.*address|custom_id|note.*|.*description")


def masked(body: bytes) -> str:
    """The body as indented JSON, masked; as nothing but its size where it is no JSON."""
    try:
        return json.dumps(_masked("", json.loads(body)), indent=2, ensure_ascii=False)
    except ValueError:
        return f"{COVER} ({len(body)} bytes that are no JSON)"


def plain(body: bytes) -> str:
    """The body as indented JSON, whole."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode("utf-8", "replace")


def _masked(name: str, value: Any, free: bool = False) -> Any:
    """``free``: inside what people write, where neither a field's name nor a value's look says anything."""
    free = free or FREE.fullmatch(name) is not None
    if HIDDEN.fullmatch(name):
        return COVER
    if isinstance(value, dict):
        return {key: _masked(key, each, free) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(name, each, free) for each in value]
    if not isinstance(value, str) or not value:
        return value
    shown = SHOWN.fullmatch(name) or PLAIN.fullmatch(value) or AMOUNT.fullmatch(f"{name} {value}")
    return value if shown and not free else COVER
