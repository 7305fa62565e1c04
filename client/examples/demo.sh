#!/bin/bash
# What the region broker promises, shown on this machine in a few seconds:
#
#     BUILD=build client/examples/demo.sh
#
# Runs a broker of its own on a private socket in a temporary directory. Other processes read what one has loaded; then
# comes trouble: a writer is killed in the middle of a write, a forked child is left behind, a holder is killed. Exits
# with 1 if anything is not as promised, or the machine not left as it was found.
set -u

BUILD=$(cd "${BUILD:-build}" && pwd) || exit 2
export PATH="$BUILD/daemon:$BUILD/client/ctl:$BUILD/client/examples:$PATH"
unset JOURNAL_STREAM

dir=$(mktemp -d /tmp/region-demo.XXXXXX) || exit 2
home=$dir/home
input=$dir/input
log=$dir/broker.log
export REGION_BROKER_SOCKET=$dir/socket
broker='' loader=''
declare -A loaders=()
mkdir "$home" "$dir/run" "$dir/state"

bold='' plain=''
if [ -t 1 ]; then
        bold=$'\e[1m' plain=$'\e[0m'
fi

step_number=0
step()
{
        step_number=$((step_number + 1))
        printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$*" "$plain"
}

# Shows a command and runs it.
run()
{
        printf '   $ %s\n' "$*"
        "$@" 2>&1 | sed 's/^/     /'
        return "${PIPESTATUS[0]}"
}

fail()
{
        printf '\nFAILED: %s\n' "$*" >&2
        [ -s "$log" ] && sed 's/^/   broker: /' "$log" >&2
        exit 1
}

# Waits until a file has a line that fits, or so many of them: no sleeping, and no longer than a minute.
wait_for_line()
{
        local times=${3:-1} seen

        seen=$(timeout 60 tail -n +1 -f "$1" 2>/dev/null | grep -c -m "$times" -- "$2")
        [ "$seen" -eq "$times" ] || fail "waited in vain for '$2' in $1"
}

# Starts load-file in the background, in a process group of its own; its pid is $loader then, and its words are in
# $dir/$name.out.
load()
{
        local name=${*: -2:1}

        printf '   $ load-file %s &\n' "$*"
        : >"$dir/$name.out"
        setsid load-file "$@" >>"$dir/$name.out" 2>&1 &
        loader=$!
        loaders[$loader]=$name
}

# Ends a process without giving it a chance to tidy up, and waits until it is dead.
murder()
{
        printf '   $ kill -KILL %s\n' "$1"
        kill -KILL "$1"
        wait "$1" 2>/dev/null
        unset "loaders[$1]"
}

# All shared memory that anybody on this machine can see, and the home.
machine()
{
        ipcs -m | awk '$2 ~ /^[0-9]+$/ { print "System V segment " $2 }'
        find /dev/shm -mindepth 1 | sort
        find "$home" -mindepth 1 | sort
}

# What an environment has outside of its processes, in the words of machine().
belongings()
{
        regionctl show "$1" --json=short | grep -o '"shmId":[0-9]*\|"path":"[^"]*"' |
                sed 's/"shmId":/System V segment /; s/"path":"\(.*\)"/\1/' >>"$dir/ours"
}

cleanup()
{
        trap - EXIT INT TERM
        for pid in "${!loaders[@]}"; do
                kill -KILL -- "-$pid" 2>/dev/null # it, or the child it left
                wait "$pid" 2>/dev/null
        done
        if [ -n "$broker" ]; then
                for name in library crashed orphan; do
                        regionctl remove "$name" --wait=60s >/dev/null 2>&1
                done
                kill -INT "$broker" 2>/dev/null && wait "$broker" 2>/dev/null
        fi
        rm -r "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

step "A broker of our own, and a real file of some megabytes: the C library, bash, perl, dpkg and tar in one"
: >"$log"
region-broker --user --runtime-directory "$dir/run" --state-directory "$dir/state" \
        --listen "$REGION_BROKER_SOCKET" 2>>"$log" &
broker=$!
wait_for_line "$log" "listening on $REGION_BROKER_SOCKET"
libc=$(ldd "$(command -v bash)" | awk '/libc\.so/ { print $3 }')
cat "$libc" "$(command -v bash)" "$(command -v perl)" "$(command -v dpkg)" "$(command -v tar)" >"$input"
run ls -l "$input"
run sha256sum "$input"
digest=$(sha256sum <"$input" | cut -d ' ' -f 1)

step "The machine before: System V segments, /dev/shm, and the home, which is empty"
run ipcs -m
run ls -A /dev/shm
run ls -A "$home"
machine >"$dir/before"

step "One process loads it into an environment of nine regions, of all four shared kinds"
load --home "$home" library "$input"
wait_for_line "$dir/library.out" '^ready:'
sed 's/^/     /' "$dir/library.out"
library=$loader

step "Two other processes read it at once, straight from the shared memory"
run check-file library >"$dir/reader-1.out" &
reader=$!
run check-file library || fail "a reader found something else than was written"
wait "$reader" || fail "a reader found something else than was written"
cat "$dir/reader-1.out"
grep -q "$digest" "$dir/reader-1.out" || fail "the digest in memory is not that of the file"

step "What exists now, who holds it, and where"
run regionctl list
run regionctl show library
belongings library
machine >"$dir/during"
printf '   New on the machine, not counting unnamed memory files:\n'
comm -13 <(sort "$dir/before") <(sort "$dir/during") | sed 's/^/     /'

step "A writer is killed with SIGKILL in the middle of writing its fourth chunk"
load --then-die 4 crashed "$input"
wait "$loader" 2>/dev/null
[ $? -eq 137 ] || fail "the writer was to die of SIGKILL"
printf '     killed: %s\n' "$(kill -l 137)"
unset "loaders[$loader]"
wait_for_line "$log" 'reclaimed environment crashed'
run regionctl show crashed
[ $? -eq 4 ] || fail "the half-written environment is still there"
printf '   Nobody saw it half-written. Loading again needs no cleaning up:\n'
load crashed "$input"
wait_for_line "$dir/crashed.out" '^ready:'
run check-file crashed || fail "loading again did not work"
belongings crashed
murder "$loader"
wait_for_line "$log" 'reclaimed environment crashed' 2

step "A loader exits, but a child that it forked still has everything mapped"
load --fork-child orphan "$input"
wait_for_line "$dir/orphan.out" '^child'
child=$(awk '/^child/ { print $2 }' "$dir/orphan.out")
wait "$loader" || fail "the loader with the child ended badly"
sed 's/^/     /' "$dir/orphan.out"
belongings orphan
run regionctl show orphan || fail "memory was taken from a process that uses it"
regionctl show orphan | grep -q inherited || fail "regionctl does not say that it is inherited"
run check-file orphan || fail "the orphan's content is gone"
printf '   Now the child ends, and with it the last mapping:\n'
run kill -TERM "$child"
wait_for_line "$log" 'reclaimed environment orphan'
unset "loaders[$loader]"
run regionctl show orphan
[ $? -eq 4 ] || fail "the orphan is still there"

step "And the holder of the first environment is killed"
murder "$library"
wait_for_line "$log" 'reclaimed environment library'
run regionctl list

step "What was given back, and by which rule, as the broker says"
grep -o 'reclaimed environment.*' "$log" | sed 's/^/     /'
[ "$(grep -c 'reclaimed environment' "$log")" -eq 4 ] || fail "four environments were to be reclaimed"

step "The machine after"
run ipcs -m
run ls -A /dev/shm
run ls -A "$home"
machine >"$dir/after"
left=$(sort "$dir/ours" | uniq | comm -12 - <(sort "$dir/after"))
[ -z "$left" ] || fail "left behind: $left"
[ -z "$(ls -A "$home")" ] || fail "the home is not empty"
if cmp -s "$dir/before" "$dir/after"; then
        printf '\nAll as it was: %s things had a name on this machine, none is left.\n' "$(sort -u "$dir/ours" | wc -l)"
else
        printf '\nNothing of ours is left: %s things had a name. Others changed theirs meanwhile:\n' \
                "$(sort -u "$dir/ours" | wc -l)"
        diff "$dir/before" "$dir/after" | sed -n 's/^[<>]/     &/p'
fi
