// A receiver of Roundtrip's webhooks: checks, records each event once, answers.
//
//     WEBHOOK_SECRET=whsec_… node receiver.mjs
//
// LISTEN is 127.0.0.1:9000 and DATABASE is received.db unless set. It needs nothing but Node.js 22.13 or later, and so
// shows what the libraries (`standardwebhooks`, `svix`) do inside. What to do with an event belongs into a worker of
// yours that reads the table `received`: the answer is due within 15 s, and an event that was recorded is never lost.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";

const TOLERANCE_S = 5 * 60;
// Longer bodies are refused with 413. Roundtrip's are a few kilobytes.
const BODY_BYTES_MAX = 1024 * 1024;

const { WEBHOOK_SECRET, LISTEN = "127.0.0.1:9000", DATABASE = "received.db" } = process.env;
if (!WEBHOOK_SECRET?.startsWith("whsec_")) throw new Error("WEBHOOK_SECRET is not set, or does not begin with whsec_");
const key = Buffer.from(WEBHOOK_SECRET.slice("whsec_".length), "base64");

const database = new DatabaseSync(DATABASE);
database.exec("CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY, body TEXT NOT NULL)");
// The id is the same through retries and replays; the primary key also settles a race of two processes.
const record = database.prepare("INSERT OR IGNORE INTO received (id, body) VALUES (?, ?)");

/** Whether the request is Roundtrip's, unchanged and at most five minutes old. `body` is the raw bytes. */
function isSigned(headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !signatures || !/^\d+$/.test(timestamp ?? "")) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // Several while secrets are rotated, and other versions beside; one has to fit.
  return signatures.split(" ").some((one) => {
    const [version, value] = one.split(",");
    if (version !== "v1" || value === undefined) return false;
    const given = Buffer.from(value, "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

/** The raw body, before anything parses it: the signature covers its bytes. `null` if it is too long. */
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    // Read on without keeping it, so that the sender gets to hear why.
    if (length <= BODY_BYTES_MAX) chunks.push(chunk);
  }
  return length > BODY_BYTES_MAX ? null : Buffer.concat(chunks);
}

async function answer(request) {
  if (request.url !== "/webhooks") return 404;
  if (request.method !== "POST") return 405;
  const body = await read(request);
  if (body === null) return 413;
  if (!isSigned(request.headers, body)) return 401;
  record.run(request.headers["webhook-id"], body.toString("utf8"));
  return 204;
}

const server = createServer((request, response) => {
  answer(request)
    .catch((error) => {
      // Not recorded, so not received: it is sent again later.
      console.error(error);
      return 500;
    })
    .then((status) => response.writeHead(status).end());
});
const colon = LISTEN.lastIndexOf(":");
server.listen(Number(LISTEN.slice(colon + 1)), LISTEN.slice(0, colon), () => {
  const { address, port } = server.address();
  console.log(`listening on http://${address}:${port}/webhooks`);
});
