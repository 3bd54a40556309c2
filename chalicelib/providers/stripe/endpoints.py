"""How Stripe's webhook endpoints are set up: https://docs.stripe.com/api/webhook_endpoints"""

from collections.abc import Iterator

from chalicelib.providers.protocol import Notice
from chalicelib.providers.stripe.objects import Object

NEEDED = ("payment_intent.succeeded", "charge.refunded", "charge.dispute.closed")
LINK = "invoice_payment.paid"  # since 2025-03-31 alone says which payment an invoice was paid by


def notices(endpoints: list[Object]) -> Iterator[Notice]:
    ours = [each for each in endpoints if str(each.get("url", "")).endswith("/webhooks/stripe")]
    if not ours:
        remedy = "add this stage's /webhooks/stripe as an endpoint in Stripe's dashboard"
        yield Notice("no endpoint leads here", remedy, is_broken=True)
    for each in ours:
        url, enabled = each["url"], set(each.get("enabled_events", ()))
        missing = [] if "*" in enabled else [type_ for type_ in NEEDED if type_ not in enabled]
        if each.get("status") != "enabled":
            remedy = "enable it in Stripe's dashboard, then daybook reconcile"
            yield Notice(f"{url} is {each.get('status')}", remedy, is_broken=True)
        elif missing:
            yield Notice(f"{url} does not send {', '.join(missing)}", "add these types")
        elif "invoice.paid" in enabled and LINK not in enabled:
            yield Notice(f"{url} does not send {LINK}: no subscription names its payments", f"add {LINK}")
        else:
            version = each.get("api_version") or "the account's default"
            yield Notice(f"{url} is enabled, API version {version}")
