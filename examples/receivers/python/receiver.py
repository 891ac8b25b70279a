"""A receiver of Roundtrip's webhooks: checks, records each event once, answers.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_… python receiver.py

LISTEN is 127.0.0.1:9000 and DATABASE is received.db unless set. What to do with an event belongs into a worker of
yours that reads the table `received`: the answer is due within 15 s, and an event that was recorded is never lost.
"""

import os
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

# Longer bodies are refused with 413. Roundtrip's are a few kilobytes.
BODY_BYTES_MAX = 1024 * 1024

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
DATABASE = os.environ.get("DATABASE", "received.db")


def record(event_id, body):
    """Keeps an event unless it is known already. The id is the same through retries and replays; the primary key
    also settles a race of two."""
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("INSERT OR IGNORE INTO received (id, body) VALUES (?, ?)", (event_id, body))


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Seconds that a connection may be silent.
    timeout = 15

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            # What was not read would be taken for the next request.
            self.close_connection = True
            return self.answer(413 if length.isdecimal() else 411)
        # The raw body, before anything parses it: the signature covers its bytes.
        body = self.rfile.read(int(length))
        if self.path != "/webhooks":
            return self.answer(404)
        try:
            # The library checks the time too. A signature that is no base64 is a ValueError.
            WEBHOOK.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        try:
            record(self.headers["webhook-id"], body.decode())
        except sqlite3.Error as error:
            # Not recorded, so not received: it is sent again later.
            self.log_error("not recorded: %s", error)
            return self.answer(500)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, code="-", size="-"):
        """Says nothing of requests that were answered."""


if __name__ == "__main__":
    with closing(sqlite3.connect(DATABASE)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:9000").rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Receiver)
    print(f"listening on http://{host}:{server.server_port}/webhooks", flush=True)
    server.serve_forever()
