// The plain header alone, as webhook guides write such a receiver: hex HMAC-SHA256 of the raw body, compared in constant
// time. It proves who sent the body and nothing else: no time, no id. `receiver.mjs` beside it is the whole thing.
//
//     WEBHOOK_SECRET=whsec_… node plain.mjs
//
// LISTEN is 127.0.0.1:9000 unless set, and SIGNATURE_HEADER is x-roundtrip-signature.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const BODY_BYTES_MAX = 1024 * 1024;

/** The key is the secret as it was shown, `whsec_` included. `rawBody` is the bytes as they came. */
export function isOurs(rawBody, signature, secret) {
  const expected = createHmac("sha256", secret).update(rawBody).digest();
  const given = Buffer.from(signature ?? "", "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function main({ WEBHOOK_SECRET, LISTEN = "127.0.0.1:9000", SIGNATURE_HEADER = "x-roundtrip-signature" }) {
  if (!WEBHOOK_SECRET) throw new Error("WEBHOOK_SECRET is not set");
  const server = createServer((request, response) => {
    const chunks = [];
    let length = 0;
    request.on("data", (chunk) => {
      length += chunk.length;
      if (length <= BODY_BYTES_MAX) chunks.push(chunk);
    });
    request.on("end", () => {
      const known = length <= BODY_BYTES_MAX && isOurs(Buffer.concat(chunks), request.headers[SIGNATURE_HEADER], WEBHOOK_SECRET);
      response.writeHead(known ? 204 : 401).end();
    });
  });
  const colon = LISTEN.lastIndexOf(":");
  server.listen(Number(LISTEN.slice(colon + 1)), LISTEN.slice(0, colon), () => {
    const { address, port } = server.address();
    console.log(`listening on http://${address}:${port}/webhooks`);
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main(process.env);
