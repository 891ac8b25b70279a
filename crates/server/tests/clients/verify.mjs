// Runs verifiers that nobody here wrote, and a receiver as webhook guides show it, on signed samples.
//
// usage: node verify.mjs SAMPLES.json, in the directory that holds node_modules. Prints one line of JSON per sample and
// client: {"sample", "client", "outcome"}. The outcome is `accepted`, `refused` (the client's own way to say no), or
// the text of any other error. What ought to come out is not known here; the Rust test compares.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { isOurs } from "../../../../examples/receivers/node/plain.mjs";

const require = createRequire(`${process.cwd()}/`);
const standardwebhooks = require("standardwebhooks");
const svix = require("svix");
const { validateWebhook } = require("replicate");

/** The libraries throw an error of theirs. Where the parsed body is given back, it has to be the one that was sent. */
const library = (Webhook, Refusal) => (sample) => {
  let parsed;
  try {
    parsed = new Webhook(sample.secret).verify(sample.body, sample.headers);
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
  if (parsed !== undefined && JSON.stringify(parsed) !== JSON.stringify(JSON.parse(sample.body))) {
    throw new Error("another body came out");
  }
  return true;
};

/** Ed25519 by Node itself. The raw key becomes the JWK that Node reads. */
function v1a(sample) {
  const raw = Buffer.from(sample.public_key.slice("whpk_".length), "base64");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = sample.headers;
  const content = Buffer.from(`${id}.${timestamp}.${sample.body}`);
  return signatures
    .split(" ")
    .map((one) => one.split(","))
    .some(([version, value]) => version === "v1a" && verify(null, content, key, Buffer.from(value, "base64")));
}

/** The plain header, by the receiver that guides show; the key is the secret as it was shown. */
const plain = (sample) => isOurs(Buffer.from(sample.body), sample.headers[sample.plain_header], sample.secret);

const clients = {
  "npm standardwebhooks": library(standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError),
  "npm svix": library(svix.Webhook, svix.WebhookVerificationError),
  "npm replicate": (sample) => validateWebhook({ headers: sample.headers, body: sample.body }, sample.secret),
  "Node crypto v1a": v1a,
  "Node crypto plain": plain,
};

for (const sample of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  for (const [client, accepts] of Object.entries(clients)) {
    let outcome;
    try {
      outcome = (await accepts(sample)) ? "accepted" : "refused";
    } catch (error) {
      outcome = String(error);
    }
    console.log(JSON.stringify({ sample: sample.name, client, outcome }));
  }
}
