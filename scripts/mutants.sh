#!/bin/sh
# Shows that the history checker and the simulation find bugs: applies each of tests/mutants/*.patch to a copy of the tree,
# runs the checker against the engine that the patch names, and the simulation if this is SQLite, and prints which seed found
# the bug and how. Fails when one of the two does not find a bug.
#
# Each mutant gets MUTANT_SEEDS seeds (default 300) and MUTANT_SECONDS (default 400); MUTANTS selects some of them (by the
# beginnings of their files' names), and MUTANT_FINDERS one of the finders (default "checker simulation").
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
# its path in the workspace. Dependencies that were built already are linked.
export CARGO_TARGET_DIR="$root/target/mutants/build"
mkdir -p "$CARGO_TARGET_DIR/debug"
if [ -d target/debug/deps ]; then
    cp -al target/debug/deps target/debug/build target/debug/.fingerprint "$CARGO_TARGET_DIR/debug/"
    for member in $(ls crates) checker; do
        rm -rf "$CARGO_TARGET_DIR/debug/deps/lib$member-"* "$CARGO_TARGET_DIR/debug/deps/$member-"* \
            "$CARGO_TARGET_DIR/debug/.fingerprint/$member-"*
    done
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

# found_by LOG: prints what was found first, and by which seed.
found_by() {
    {
        grep -m 1 '^seed [0-9]*: ' "$1" || grep -A 1 -m 1 'panicked at' "$1" | tail -n 1
    } | tr '|\n' '/ ' | sed 's/[0-9a-f]\{8\}-[0-9a-f-]*/an operation/' | cut -c 1-150
}

# finders_of ENGINE: prints the finders for an engine. The simulation has only the embedded store.
finders_of() {
    for finder in $finders; do
        [ "$finder $1" = 'simulation postgres' ] || echo "$finder"
    done
}

table=$root/target/mutants/table.md
printf '| mutant | engine | finder | found | by |\n|---|---|---|---|---|\n' >"$table"
missed=0
for engine in sqlite postgres; do
    for finder in $(finders_of "$engine"); do
        check "$finder" "$engine" "$root/target/mutants/$engine.log" 25 || {
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
        git -C "$tree" apply "$patch"
        for finder in $(finders_of "$engine"); do
            log=$root/target/mutants/$name.$finder.log
            begun=$(date +%s)
            if check "$finder" "$engine" "$log" "$seeds"; then
                found=NO
                by="$seeds seeds passed"
                missed=$((missed + 1))
            elif grep -q 'panicked at\|^seed [0-9]*: ' "$log"; then
                found="yes, $(($(date +%s) - begun)) s with the build"
                by=$(found_by "$log")
            else
                found=NO
                by="the run does not end"
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
