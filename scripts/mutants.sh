#!/bin/sh
# Shows that the history checker and the simulation find bugs: applies each of tests/mutants/*.patch to a copy of the tree,
# runs the checker against the engine that the patch names, and the simulation if this is SQLite, and prints which seed found
# the bug and how. A bug of the engine "server" is not in a store, so that only the simulation can find it. A bug is found
# when one of the messages is printed that the patch expects (`# expect:`): those of the judges that are to find it. Another
# failure does not count. Fails when one of the two does not find a bug.
#
# Each mutant gets MUTANT_SEEDS seeds (default 300) and MUTANT_SECONDS (default 400); MUTANTS selects some of them (by the
# beginnings of their files' names), and MUTANT_FINDERS one of the finders (default "checker simulation"). First, all finders
# must find nothing in MUTANT_BASELINE seeds (default 25) without a mutant.
set -eu
cd "$(dirname "$0")/.."

root=$PWD
tree=$root/target/mutants/tree
seeds=${MUTANT_SEEDS:-300}
finders=${MUTANT_FINDERS:-checker simulation}
rm -rf "$root/target/mutants"
mkdir -p "$tree"
git ls-files -co --exclude-standard -z | tar --null --ignore-failed-read -T - -c | tar -x -C "$tree"
# The copy is inside this repository, which must not be changed.
export GIT_CEILING_DIRECTORIES="$root/target/mutants"
# The copy has its own build artifacts; otherwise cargo would mistake those of the tree for them, since it names a package by
# its path in the workspace. Dependencies that were built already are linked, unless they are
# on another file system.
built=${CARGO_TARGET_DIR:-target}/debug
export CARGO_TARGET_DIR="$root/target/mutants/build"
mkdir -p "$CARGO_TARGET_DIR/debug"
if [ -d "$built/deps" ] && cp -al "$built/deps" "$built/build" "$built/.fingerprint" "$CARGO_TARGET_DIR/debug/" 2>/dev/null; then
    for member in $(ls crates) checker; do
        rm -rf "$CARGO_TARGET_DIR/debug/deps/lib$member-"* "$CARGO_TARGET_DIR/debug/deps/$member-"* \
            "$CARGO_TARGET_DIR/debug/.fingerprint/$member-"*
    done
else
    rm -rf "$CARGO_TARGET_DIR/debug"
fi
export RUST_BACKTRACE=0

# check FINDER ENGINE LOG SEEDS: returns 0 when the finder finds nothing.
check() {
    case $1 in
        checker) build='test --package store --test checker --no-run' run="test --package store --test checker -- --exact $2" ;;
        *) build='build --package simulation' run='run --package simulation' ;;
    esac
    (cd "$tree" && cargo --locked --quiet $build) >"$3" 2>&1 || {
        cat "$3"
        echo "the tree does not build" >&2
        exit 2
    }
    (cd "$tree" && LONGRUN_SEEDS=$4 SIMULATION_SEEDS=$4 timeout -s KILL "${MUTANT_SECONDS:-400}" \
        cargo --locked --quiet $run) >"$3" 2>&1
}

# found_by LOG EXPECTED: prints the first line of the log with an expected message, and by which seed it was found. Fails when
# there is none.
found_by() {
    line=$(grep -m 1 -F -f "$2" "$1") || return 1
    printf '%s' "$line" | tr '|' '/' | sed 's/[0-9a-f]\{8\}-[0-9a-f-]*/an operation/' | cut -c 1-150
}

# finders_of ENGINE: prints the finders for an engine. The simulation has only the embedded store; the checker has no server.
finders_of() {
    for finder in $finders; do
        case "$finder $1" in
            'simulation postgres' | 'checker server') ;;
            *) echo "$finder" ;;
        esac
    done
}

table=$root/target/mutants/table.md
printf '| mutant | engine | finder | found | by |\n|---|---|---|---|---|\n' >"$table"
missed=0
for engine in sqlite postgres; do
    for finder in $(finders_of "$engine"); do
        check "$finder" "$engine" "$root/target/mutants/$engine.log" "${MUTANT_BASELINE:-25}" || {
            tail -n 20 "$root/target/mutants/$engine.log"
            echo "the $finder finds something on $engine without any mutant, so the mutants would prove nothing" >&2
            exit 1
        }
    done
done
for number in ${MUTANTS:-0 1}; do
    for patch in "$root/tests/mutants/$number"*.patch; do
        name=$(basename "$patch" .patch)
        engine=$(sed -n 's/^# engine: //p' "$patch")
        expected=$root/target/mutants/$name.expected
        sed -n 's/^# expect: //p' "$patch" >"$expected"
        git -C "$tree" apply "$patch"
        for finder in $(finders_of "$engine"); do
            log=$root/target/mutants/$name.$finder.log
            begun=$(date +%s)
            if check "$finder" "$engine" "$log" "$seeds"; then
                found=NO
                by="$seeds seeds passed"
                missed=$((missed + 1))
            elif by=$(found_by "$log" "$expected"); then
                found="yes, $(($(date +%s) - begun)) s with the build"
            else
                found=NO
                by="the run fails in another way, or does not end: $log"
                missed=$((missed + 1))
            fi
            printf '| %s | %s | %s | %s | %s |\n' "$name" "$engine" "$finder" "$found" "$by" | tee -a "$table"
        done
        git -C "$tree" apply -R "$patch"
    done
done
echo
cat "$table"
rm -rf "$tree" "$CARGO_TARGET_DIR"
[ "$missed" = 0 ] || {
    echo "$missed mutants were not found" >&2
    exit 1
}
