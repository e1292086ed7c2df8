# Steps that several layers share; sourced with `.`, never run.
# Uses compile_bytecode.py and shared_files.py beside it.
# Reads: TARGET, INPUTS, UV, VENV, NO_INDEX, OFFLINE, SOURCE_DATE_EPOCH.
# shellcheck shell=sh

# File modes must not depend on the user who runs this.
umask 022

layers=$(cd "$(dirname "$0")" && pwd)

# install_requirements FILE: installs exactly what FILE pins by hash into the environment $VENV.
# Files that several of them install are those of the last in the order of FILE.
# Indexes, certificates and the cache are passed to uv in its own variables, so that no secret is an argument.
install_requirements() {
    if [ "${OFFLINE:-0}" = 1 ]; then
        UV_OFFLINE=1
        export UV_OFFLINE
    fi
    install_from=$1
    if [ -f "$INPUTS/uv.toml" ]; then
        UV_CONFIG_FILE=$INPUTS/uv.toml
        export UV_CONFIG_FILE
    fi
    set -- "$UV" pip install --python "$VENV/bin/python" --no-deps --require-hashes --no-compile-bytecode
    if [ "${NO_INDEX:-0}" = 1 ]; then
        set -- "$@" --no-index
    fi
    "$@" --requirements "$install_from"
    "$VENV/bin/python" -B -I -S "$layers/shared_files.py" "$VENV" "$install_from" "$@"
    # It is uv's lock file, and every user could write to it.
    rm -f "$VENV/.lock"
    forget_local_wheels
}

# forget_local_wheels: for a wheel from a folder uv records the file's time, which is different each time.
forget_local_wheels() {
    find "$VENV/lib" -path '*.dist-info/uv_cache.json' | while IFS= read -r note; do
        record=${note%/*}/RECORD
        # For its mode, which differs between wheels.
        cp "$record" "$record.partial"
        grep -v '\.dist-info/uv_cache\.json,' "$record" >"$record.partial"
        mv -f "$record.partial" "$record"
        rm -f "$note"
    done
}

# compile_bytecode FOLDER: compiles every source without bytecode. -B: otherwise bytecode of the interpreter's
# own imports would be written in another mode. -S: a .pth file would run code of the packages.
compile_bytecode() {
    "$VENV/bin/python" -B -I -S "$layers/compile_bytecode.py" "$1"
}

# copy_tree FROM TO: copies files, modes and links, owned by the current user.
copy_tree() {
    mkdir -p "$2"
    cp -RP "$1/." "$2"
    chmod -R u+w "$2"
}

# settle PATH… [find's tests]: gives everything newer than 1980 the layer's time.
# The times of all layers are in 1980, so files of earlier layers are not touched again:
# in an image a touch would copy the file into this layer.
settle() {
    settle_to=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S 2>/dev/null ||
        date -u -r "$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S)
    settle_mark=$(mktemp)
    TZ=UTC0 touch -t 198101010000 "$settle_mark"
    TZ=UTC0 find "$@" -newer "$settle_mark" -exec touch -h -t "$settle_to" {} +
    rm -f "$settle_mark"
}

# settle_environment: settles $VENV. In an image, what is new in it becomes read-only first, for root too, or belongs to
# ENVIRONMENT_OWNER (uid:gid), if that is set. On a host its modes come last, when all its layers are done.
settle_environment() {
    if [ "$TARGET" = image ]; then
        settle_mark=$(mktemp)
        TZ=UTC0 touch -t 198101010000 "$settle_mark"
        if [ -n "${ENVIRONMENT_OWNER:-}" ]; then
            find "$VENV" -newer "$settle_mark" -exec chown -h "$ENVIRONMENT_OWNER" {} +
            # Root writes there through the group.
            find "$VENV" ! -type l -newer "$settle_mark" -exec chmod g+w {} +
        else
            find "$VENV" ! -type l -newer "$settle_mark" -exec chmod a-w {} +
        fi
        rm -f "$settle_mark"
    fi
    settle "$VENV"
}
