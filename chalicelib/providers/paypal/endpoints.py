"""How PayPal's webhooks are set up: https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_list"""

from collections.abc import Iterator

from chalicelib.providers.paypal.objects import Resource
from chalicelib.providers.protocol import Notice

NEEDED = "PAYMENT.CAPTURE.COMPLETED"


def notices(webhooks: list[Resource], ids: tuple[str, ...]) -> Iterator[Notice]:
    """Those that are not in ``ids`` may be another stage's: they are named where none is ours."""
    leading = [each for each in webhooks if str(each.get("url", "")).endswith("/webhooks/paypal")]
    ours = [each for each in leading if each.get("id") in ids]
    if not leading:
        remedy = "add this stage's /webhooks/paypal at PayPal"
        yield Notice("no webhook leads here", remedy, is_broken=True)
    elif not ours:
        listed = ", ".join(f"{each['url']} has the id {each.get('id')}" for each in leading)
        remedy = "put this stage's into paypal_webhook_ids, or add a webhook for it"
        yield Notice(f"no configured id is among PayPal's webhooks: {listed}", remedy, is_broken=True)
    for each in ours:
        types = {str(type_.get("name")) for type_ in each.get("event_types", ())}
        if not types & {"*", NEEDED}:
            yield Notice(f"{each['url']} does not send {NEEDED}", "add this type")
        else:
            yield Notice(f"{each['url']} sends {len(types)} types")
