"""Runs verifiers that nobody here wrote on signed samples.

usage: python verify.py SAMPLES.json. Prints one line of JSON per sample and client: sample, client, outcome. The
outcome is `accepted`, `refused` (the client's own way to say no), or the text of any other error. What ought to come
out is not known here; the Rust test compares.
"""

import base64
import json
import sys

import openai
import standardwebhooks
import svix
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# It makes no request; it only wants to be told some key.
OPENAI = openai.OpenAI(api_key="none", webhook_secret="none")


def library(module, name):
    def accepts(sample):
        try:
            parsed = module.Webhook(sample["secret"]).verify(sample["body"].encode(), sample["headers"])
        except module.WebhookVerificationError:
            return False
        # Where the parsed body is given back, it has to be the one that was sent.
        if parsed is not None and parsed != json.loads(sample["body"]):
            raise ValueError(f"{name}: another body came out")
        return True

    return accepts


def openai_verify(sample):
    try:
        OPENAI.webhooks.verify_signature(sample["body"].encode(), sample["headers"], secret=sample["secret"])
    except openai.InvalidWebhookSignatureError:
        return False
    return True


def openai_unwrap(sample):
    try:
        OPENAI.webhooks.unwrap(sample["body"], sample["headers"], secret=sample["secret"])
    except openai.InvalidWebhookSignatureError:
        return False
    return True


def v1a(sample):
    """Ed25519 by the package `cryptography`."""
    raw = base64.b64decode(sample["public_key"].removeprefix("whpk_"), validate=True)
    key = Ed25519PublicKey.from_public_bytes(raw)
    headers = sample["headers"]
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{sample['body']}".encode()
    for one in headers["webhook-signature"].split(" "):
        version, value = one.split(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(value, validate=True), content)
        except InvalidSignature:
            continue
        return True
    return False


CLIENTS = {
    "PyPI standardwebhooks": library(standardwebhooks, "standardwebhooks"),
    "PyPI svix": library(svix, "svix"),
    "PyPI openai verify_signature": openai_verify,
    "PyPI openai unwrap": openai_unwrap,
    "PyPI cryptography v1a": v1a,
}

with open(sys.argv[1], encoding="utf-8") as file:
    samples = json.load(file)
for sample in samples:
    for client, accepts in CLIENTS.items():
        try:
            outcome = "accepted" if accepts(sample) else "refused"
        except Exception as error:  # Any other error is an outcome too, and a wrong one.
            outcome = repr(error)
        print(json.dumps({"sample": sample["name"], "client": client, "outcome": outcome}))
