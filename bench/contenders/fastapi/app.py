"""FastAPI behind Mangum, with Stripe's SDK and boto3's resource."""

import os

import boto3
import stripe
from chalicelib.paypal import InvalidSignature, verify
from fastapi import FastAPI, HTTPException, Request
from mangum import Mangum

app = FastAPI()
table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


@app.post("/webhooks/stripe")
async def stripe_webhook(request: Request):
    body = await request.body()
    signature = request.headers.get("stripe-signature", "")
    try:
        event = stripe.Webhook.construct_event(body, signature, os.environ["STRIPE_SECRET"])
    except (ValueError, stripe.SignatureVerificationError):
        raise HTTPException(400, "invalid signature") from None
    table.put_item(Item={"id": event.id, "type": event.type, "body": body.decode()})
    return {"received": True}


@app.post("/webhooks/paypal")
async def paypal_webhook(request: Request):
    body = await request.body()
    try:
        event = verify(request.headers, body)
    except InvalidSignature:
        raise HTTPException(400, "invalid signature") from None
    table.put_item(Item={"id": event["id"], "type": event["event_type"], "body": body.decode()})
    return {"received": True}


handler = Mangum(app, lifespan="off")
