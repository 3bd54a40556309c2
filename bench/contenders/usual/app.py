"""The usual handler: Chalice, Stripe's SDK, boto3's resource, X-Ray's patches."""

import os

import boto3
import stripe
from aws_xray_sdk.core import patch_all
from chalice import Chalice, Response
from chalicelib.paypal import InvalidSignature, verify

patch_all()
app = Chalice(app_name="usual")
table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


@app.route("/webhooks/stripe", methods=["POST"])
def stripe_webhook():
    request = app.current_request
    signature = request.headers.get("stripe-signature", "")
    try:
        event = stripe.Webhook.construct_event(request.raw_body, signature, os.environ["STRIPE_SECRET"])
    except (ValueError, stripe.SignatureVerificationError):
        return Response({"error": "invalid signature"}, status_code=400)
    table.put_item(
        Item={"id": event.id, "type": event.type, "created": event.created, "body": request.raw_body.decode()}
    )
    return {"received": True}


@app.route("/webhooks/paypal", methods=["POST"])
def paypal_webhook():
    request = app.current_request
    try:
        event = verify(request.headers, request.raw_body)
    except InvalidSignature:
        return Response({"error": "invalid signature"}, status_code=400)
    table.put_item(
        Item={
            "id": event["id"],
            "type": event["event_type"],
            "created": event["create_time"],
            "body": request.raw_body.decode(),
        }
    )
    return {"received": True}
