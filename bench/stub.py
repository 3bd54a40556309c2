"""AWS on loopback, too fast to matter: answers what the contenders ask for, and counts it.

    python bench/stub.py PORT SECRET_STRING CERTIFICATE_PEM [FULLER]

It remembers payments, so that the next event of one finds it; nothing else. With FULLER it holds that many
items from the start.
"""

import asyncio
import base64
import hashlib
import json
import sys
from collections import Counter
from typing import Any

CERT_URL = "https://api.paypal.com/v1/notifications/certs/CERT-bench"


class Stub:
    def __init__(self, secret: str, pem: bytes, fuller: int) -> None:
        self._secret = secret
        self._pem = base64.b64encode(pem).decode()
        self._payments: dict[str, Any] = {f"stripe:pi_{n}": {"version": {"N": "1"}} for n in range(fuller)}
        self._messages = [str(n) for n in range(fuller)]
        self.counts: Counter[str] = Counter()

    def answer(self, target: str, request: dict[str, Any]) -> dict[str, Any]:
        operation = target.rpartition(".")[2]
        self.counts[operation] += 1
        method = getattr(self, f"_{operation.lower()}", None)
        return method(request) if method else {}

    def _sendmessage(self, request: dict[str, Any]) -> dict[str, Any]:
        digest = hashlib.md5(request["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        return {"MD5OfMessageBody": digest, "MessageId": "0a1b2c3d", "SequenceNumber": "18870"}

    def _getqueueurl(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"QueueUrl": f"http://127.0.0.1/123456789012/{request['QueueName']}"}

    def _getsecretvalue(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"SecretString": self._secret}

    def _getitem(self, request: dict[str, Any]) -> dict[str, Any]:
        key = request["Key"].get("subject", {}).get("S")
        if key == "checkpoint":  # the stage has begun to listen long ago
            return {"Item": {**request["Key"], "noted": {"S": '{"began_at": 0}'}}}
        found = self._payments.get(key)
        return {"Item": found} if found else {}

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        kept = {"subject": {"S": "certificate"}, "entry": {"S": CERT_URL}, "pem": {"B": self._pem}}
        is_asked = {"S": "certificate"} in request.get("ExpressionAttributeValues", {}).values()
        return {"Items": [kept] if is_asked else []}

    def _batchgetitem(self, request: dict[str, Any]) -> dict[str, Any]:
        [(table, wanted)] = request["RequestItems"].items()
        keys = [key["subject"]["S"] for key in wanted["Keys"]]
        found = [self._payments[key] for key in keys if key in self._payments]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def _transactwriteitems(self, request: dict[str, Any]) -> dict[str, Any]:
        for write in request["TransactItems"]:
            item = write.get("Put", {}).get("Item", {})
            if item.get("entry", {}).get("S") == "payment":
                self._payments[item["subject"]["S"]] = item
        return {}

    def _putevents(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"FailedEntryCount": 0, "Entries": []}


async def serve(stub: Stub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One kept-alive connection."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
        fields = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if head.startswith("GET /counts"):
            content = json.dumps(stub.counts).encode()
            stub.counts.clear()
        else:
            content = json.dumps(stub.answer(fields["x-amz-target"], json.loads(body))).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
            % len(content)
            + content
        )


async def main(port: int, secret: str, certificate: str, fuller: int) -> None:
    with open(certificate, "rb") as pem:  # noqa: PTH123 - once, before anything is served
        stub = Stub(secret, pem.read(), fuller)
    server = await asyncio.start_server(lambda r, w: serve(stub, r, w), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    )
