# Waits for the end of a run, however it ends, and clears up behind it; run by `streamflow.runtime.rundir`.
#
# Standard input: a pipe whose other end the supervisor holds. A word comes when the run was closed in order, and then
# nothing is kept. End of file without one means that the supervisor was killed: what it recorded is saved from memory
# into the run's folder, where it can be read, and the rest goes.
#
# Environment, not arguments, because the stages are found by the run's folder in their command lines:
#   RUN     the run's folder      MEMORY  its folder in /dev/shm, or nothing
#   BASE    the user's folder of runs, which goes with the last run
# It holds the run's lock (inherited): until it is done nobody else clears up.

trap "" INT TERM HUP
read -r word

if [ "$word" != closed ] && [ -f "$RUN/run.json" ]; then
    # Stages die with their supervisor, at once but not in no time, and write until then.
    tries=0
    while [ "$tries" -lt 10 ] && printf '%s' "$RUN" | grep -qsF -f - /proc/[0-9]*/cmdline; do
        sleep 0.05
        tries=$((tries + 1))
    done
    rm -rf -- "$RUN/control" "$RUN"/e[0-9]* "$RUN"/*.partial
    if [ -d "$MEMORY" ]; then
        rm -f -- "$MEMORY"/*.pool "$MEMORY"/*.ring "$MEMORY"/*.states* "$MEMORY"/*.kept
        mkdir -m 700 -- "$RUN/recordings.partial"
        cp -- "$MEMORY"/* "$RUN/recordings.partial/"
        rm -rf -- "$RUN/recordings"
        mv -- "$RUN/recordings.partial" "$RUN/recordings"
        rm -rf -- "$MEMORY"
    fi
else
    # A process that is about to die may still create a file: so more than once.
    for _ in 1 2 3; do
        rm -rf -- "$RUN" ${MEMORY:+"$MEMORY"} && break
        sleep 0.1
    done
fi
rmdir -- "$BASE"
