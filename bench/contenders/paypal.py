"""PayPal's offline verification, as one would write it by its guide; packaged with each contender."""

import base64
import json
import os
import zlib
from functools import cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["InvalidSignature", "verify"]


@cache
def certificate(url):
    """The certificate at that URL: from a file here, so that no contender waits for a network."""
    with open(os.environ["PAYPAL_CERTIFICATE"], "rb") as pem:
        return x509.load_pem_x509_certificate(pem.read())


def verify(headers, body):
    message = "|".join(
        (
            headers["paypal-transmission-id"],
            headers["paypal-transmission-time"],
            os.environ["PAYPAL_WEBHOOK_ID"],
            str(zlib.crc32(body)),
        )
    )
    signature = base64.b64decode(headers["paypal-transmission-sig"])
    key = certificate(headers["paypal-cert-url"]).public_key()
    key.verify(signature, message.encode(), PKCS1v15(), SHA256())
    return json.loads(body)
