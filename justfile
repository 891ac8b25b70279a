# Every command, one line of help each. `just` lists them. A clone needs only cargo: each line works by hand.

# list the commands
default:
    @just --list

# build it and show the whole path, from a click to the partner's answer
demo:
    cargo run --release -- demo

# all checks and tests, installing what they need; what CI runs
test:
    ./test.sh

# the inner loop: the pure core only
domain:
    cargo test -p roundtrip-domain

# formatting, lints, docs, licences (where cargo-deny is installed)
check:
    ./test.sh --check

# accept changed snapshots after reading them
snapshots:
    INSTA_UPDATE=always cargo test --workspace

# rewrite the pages that are generated from the code
docs:
    UPDATE_DOCS=1 cargo test --workspace

# the crash test, as many rounds as you like
crash rounds="50":
    ROUNDTRIP_CRASH_ROUNDS={{rounds}} cargo test --release -p roundtrip-server --test it crash -- --nocapture

# side by side with nginx
bench:
    cargo run --release -- bench clicks
    cargo run --release -- bench events
    cargo run --release -- bench delivery
    cargo run --release -- bench delivery --skew

# delivery in simulated worlds, as many as you like; SIM_SEED=n runs one and prints its trace
worlds seeds="10000":
    SIM_SEEDS={{seeds}} cargo test -p roundtrip-engine --test it simulation
