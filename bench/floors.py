"""The floors: what a request cannot cost less than, each as a handler of the same events."""

import hashlib
import hmac
import json
import os

QUEUE = "http://127.0.0.1/123456789012/payment-events-bench.fifo"


def _message(event):
    return {
        "QueueUrl": QUEUE,
        "MessageBody": event["body"],
        "MessageGroupId": "g",
        "MessageDeduplicationId": "d",
    }


class BareBoto3:
    """One plain ``send_message``: what "just put it on a queue" costs."""

    def __init__(self):
        import boto3

        self._client = boto3.client("sqs")

    def __call__(self, event, context):
        self._client.send_message(**_message(event))
        return {"statusCode": 200}


class SignedCall:
    """The same call with botocore's signer and urllib3 alone."""

    def __init__(self):
        import urllib3
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        self._request, self._url = AWSRequest, os.environ["AWS_ENDPOINT_URL"] + "/"
        keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        self._signer = SigV4Auth(keys, "sqs", "us-east-1")
        self._pool = urllib3.PoolManager()

    def __call__(self, event, context):
        body = json.dumps(_message(event)).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
        request = self._request(method="POST", url=self._url, data=body, headers=headers)
        self._signer.add_auth(request)
        self._pool.urlopen("POST", self._url, body=body, headers=dict(request.headers))
        return {"statusCode": 200}


def hmac_alone(event, context):
    hmac.new(b"whsec_bench", b"1." + event["body"].encode(), hashlib.sha256).hexdigest()
    return {"statusCode": 200}


def __getattr__(name):
    """Made when the driver asks for one, so that none pays for another's imports."""
    made = {"bare_boto3": BareBoto3, "signed_call": SignedCall}.get(name)
    if made is None:
        raise AttributeError(name)
    return made()
