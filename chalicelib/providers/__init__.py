"""Who sends webhooks. A provider is one module that offers what ``Provider`` asks for, and its line here."""

from collections.abc import Mapping

from chalicelib.providers import paypal, stripe
from chalicelib.providers.protocol import Provider

PROVIDERS: Mapping[str, Provider] = {
    "stripe": stripe,
    "paypal": paypal,
}
