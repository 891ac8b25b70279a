#!/usr/bin/env bash
# The one command that passes the tests, on a fresh machine too: installs what they need, then runs formatting,
# lints, docs and every test, and ends with the test runner's own summary. `--check` leaves the tests away.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# A snapshot that does not fit is a failure, never a file to be accepted later.
export INSTA_UPDATE=no

need() { # command, Debian package
  command -v "$1" >/dev/null && return
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
  else
    echo "test.sh: please install $2 (it has the command $1)" >&2
    exit 1
  fi
}
# Everything else the tests need they make themselves, or it comes as a crate.
need cc gcc
# Runs examples/statements/verify.py, as a partner would; its standard library is enough.
need python3 python3

echo "== formatting"
cargo fmt --all --check
echo "== lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings
echo "== docs"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
if command -v cargo-deny >/dev/null; then
  echo "== licences"
  cargo deny --offline check licenses bans sources
fi
[ "${1:-}" = "--check" ] && exit 0

echo "== tests"
if command -v cargo-nextest >/dev/null; then
  cargo nextest run --workspace ${CI:+--profile ci}
else
  cargo test --workspace --no-fail-fast
fi
