"""AWS Powertools: its REST resolver, idempotency on DynamoDB, tracer and logger, with Stripe's SDK."""

import json
import os

import boto3
import stripe
from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response, content_types
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from chalicelib.paypal import InvalidSignature, verify

resolver = APIGatewayRestResolver()
tracer = Tracer(service="payments")
logger = Logger(service="payments")
table = boto3.resource("dynamodb").Table(os.environ["TABLE"])
persistence = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"])
config = IdempotencyConfig(event_key_jmespath="id")


@idempotent_function(data_keyword_argument="event", persistence_store=persistence, config=config)
def record(event, body):
    table.put_item(Item={"id": event["id"], "type": event["type"], "body": body})
    return {"received": True}


def accept(event):
    body = resolver.current_event.decoded_body
    logger.info("received", extra={"event_id": event["id"]})
    return record(event=event, body=body)


def refused():
    return Response(
        status_code=400, content_type=content_types.APPLICATION_JSON, body='{"error": "signature"}'
    )


@resolver.post("/webhooks/stripe")
@tracer.capture_method
def stripe_webhook():
    event = resolver.current_event
    signature = event.headers.get("stripe-signature", "")
    try:
        found = stripe.Webhook.construct_event(event.decoded_body, signature, os.environ["STRIPE_SECRET"])
    except (ValueError, stripe.SignatureVerificationError):
        return refused()
    return accept({"id": found.id, "type": found.type})


@resolver.post("/webhooks/paypal")
@tracer.capture_method
def paypal_webhook():
    event = resolver.current_event
    try:
        found = verify(event.headers, event.decoded_body.encode())
    except InvalidSignature:
        return refused()
    return accept({"id": found["id"], "type": found["event_type"]})


@logger.inject_lambda_context
@tracer.capture_lambda_handler
def handler(event, context):
    config.register_lambda_context(context)
    return resolver.resolve(event, context)


def record_only(event, context):
    """The recording of an event that is known to be genuine, without the request around it."""
    config.register_lambda_context(context)
    found = json.loads(event["body"])
    record(event={"id": found["id"], "type": found["type"]}, body=event["body"])
    return {"statusCode": 200}
