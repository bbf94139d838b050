#!/usr/bin/env bash
# Follows the README in a clone of what is committed, as somebody who never had Florin: no settings, no packages, an
# empty home. Exit code 0: every step went well, nothing runs any more, and no money was lost in between.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/florin-fresh.XXXXXX")
chmod 711 "$work" # Under root, Postgres runs as another account, which has to pass.
clone=$work/florin
stack="" # The `florin up` that runs now.

main() {
    clone_what_is_committed
    write_down_the_environment
    the_readme_names_the_two_commands

    step "./florin up"
    up # The first time, it installs.
    curl_what_it_prints
    stop

    step "./florin up --port 0 --json --without-prometheus, with the data of the first time"
    up --port 0 --json --without-prometheus
    ask_again
    stop

    step "./florin test tests/unit -q -k 'not launcher'"
    newcomer ./florin test tests/unit -q -k 'not launcher' # The launcher is being tried here.

    step "Done in $SECONDS s: the README works in a fresh clone."
}

clone_what_is_committed() {
    step "git clone"
    # Whoever owns the repository: in a container it is often not who runs this.
    printf '[safe]\n\tdirectory = *\n' >"$work/gitconfig"
    GIT_CONFIG_GLOBAL=$work/gitconfig git clone --quiet --no-hardlinks "$root" "$clone"
    git -C "$clone" log -1 --format='%h %s'
    if [[ -n $(GIT_CONFIG_GLOBAL=$work/gitconfig git -C "$root" status --porcelain) ]]; then
        echo "(What is not committed is not in it.)"
    fi
}

# Nothing of ours but the way to a package index.
write_down_the_environment() {
    mkdir -m 700 "$work/home"
    environment=("HOME=$work/home" "PATH=$PATH" "LANG=C.UTF-8")
    local name
    while read -r name; do
        environment+=("$name=${!name}")
    done < <(compgen -e | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE$)|_(proxy|PROXY)$' || true)
}

the_readme_names_the_two_commands() {
    local command
    for command in "./florin up" "./florin test"; do
        grep -Eq "^ *(\\$ )?${command//./\\.}( |\$)" "$clone/README.md" || fail "README.md does not say: $command"
    done
}

up() {
    local arguments=("$@")
    if ((${#arguments[@]} == 0)) && ! port_is_free 8000; then
        echo "(Port 8000 is taken on this machine, so: ./florin up --port 0)"
        arguments=(--port 0)
    fi
    : >"$work/out"
    (cd "$clone" && exec env -i "${environment[@]}" ./florin up "${arguments[@]}") >"$work/out" 2>"$work/err" </dev/null &
    stack=$!
    local end=$((SECONDS + 600))
    until [[ -s $work/out ]]; do
        ended "$stack" && fail "./florin up ended before it was ready"
        ((SECONDS < end)) || fail "./florin up was not ready in ten minutes"
        sleep 0.2
    done
    cat "$work/err"
    echo "ready, process $stack"
}

# Two commands, to be pasted: an account is opened, and money is put in.
curl_what_it_prints() {
    if ! command -v curl >/dev/null; then
        echo "(There is no curl on this machine; what was printed is not tried.)"
        return
    fi
    sed -n '/^ *curl /,$p' "$work/out" >"$work/printed.sh"
    (cd "$work" && env -i "${environment[@]}" bash -e printed.sh) | tee "$work/answers"
    echo
    local applied
    applied=$(grep -o '"status": *"applied"' "$work/answers" | wc -l)
    ((applied == 2)) || fail "two commands were to be applied, not $applied"
    grep -q '"alice": *"10.50"' "$work/answers" || fail "alice was to have 10.50"
}

# The same commands again, as a client would: they are answered, and not applied a second time.
ask_again() {
    (($(wc -l <"$work/out") == 1)) || fail "--json was to print one line"
    env -i "${environment[@]}" python3 - "$work/out" <<'PYTHON'
import json
import sys
import urllib.request
from pathlib import Path

stack = json.loads(Path(sys.argv[1]).read_text())


def ask(path: str, key: str | None = None, body: dict[str, str] | None = None) -> dict:
    headers = {"Authorization": f"Bearer {stack['api_key']}", "Content-Type": "application/json"}
    if key is not None:
        headers |= {"Idempotency-Key": key, "Prefer": "wait=10"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(stack["api"] + path, data, headers), timeout=30) as answer:
        return json.load(answer)


for _ in range(2):
    opened = ask("/v1/commands", "open-alice", {"type": "open_account", "account": "alice", "currency": "USD"})
    deposit = {"type": "deposit", "account": "alice", "amount": "10.50", "currency": "USD"}
    deposited = ask("/v1/commands", "deposit-1", deposit)
    assert (opened["status"], deposited["status"]) == ("applied", "applied"), (opened, deposited)
alice = ask("/v1/accounts/alice")
assert alice["balance"] == "10.50", alice
print(f"asked again: the same answers, and alice still has {alice['balance']} {alice['currency']}")
PYTHON
}

stop() {
    local exit_code=0 end=$((SECONDS + 60))
    kill -TERM "$stack"
    until ended "$stack"; do
        ((SECONDS < end)) || fail "./florin up did not stop in a minute"
        sleep 0.1
    done
    wait "$stack" || exit_code=$?
    ((exit_code == 0)) || fail "./florin up ended with exit code $exit_code"
    stack=""
    local left
    left=$(running_in "$work")
    [[ -z $left ]] || fail "still running after ./florin up has ended: $left"
    echo "stopped, and nothing is left running"
}

newcomer() {
    (cd "$clone" && exec env -i "${environment[@]}" "$@" </dev/null)
}

port_is_free() {
    python3 -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()' "$1" 2>/dev/null
}

# A zombie has ended, though we have not asked for its exit code yet.
ended() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || true
    [[ -z $state || $state == Z ]]
}

# The processes that have to do with this folder: that were started from it, stand in it or name it.
running_in() {
    local process pid
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [[ $pid != "$$" && $pid != "$BASHPID" ]] || continue
        if [[ "$(readlink "$process/exe" "$process/cwd" 2>/dev/null) $(tr '\0' ' ' <"$process/cmdline")" == *"$1"* ]]; then
            echo "$pid"
        fi
    done 2>/dev/null
}

step() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf 'fresh clone: %s\n' "$*" >&2
    [[ ! -s $work/err ]] || sed 's/^/    /' "$work/err" >&2
    exit 1
}

clean_up() {
    local exit_code=$? pid
    trap - EXIT
    [[ -z $stack ]] || kill -TERM "$stack" 2>/dev/null || true
    for _ in {1..100}; do
        [[ -n $(running_in "$work") ]] || break
        sleep 0.1
    done
    for pid in $(running_in "$work"); do
        echo "fresh clone: ending what was left running: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")" >&2
        kill -KILL "$pid" 2>/dev/null || true
        exit_code=1
    done
    rm -rf "$work"
    exit "$exit_code"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main
