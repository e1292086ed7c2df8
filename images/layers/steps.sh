# Steps that several layers share; read by them with `.`, never run.
# Beside it lies compile_bytecode.py. Reads: UV, VENV, NO_INDEX, OFFLINE, SOURCE_DATE_EPOCH.
# shellcheck shell=sh

# The same modes whoever runs this.
umask 022

layers=$(cd "$(dirname "$0")" && pwd)

# install_requirements FILE: what FILE pins by hash, nothing else, into the environment $VENV.
# Indexes, certificates and the cache reach uv through its own variables, so that no secret is ever an argument.
install_requirements() {
    if [ "${OFFLINE:-0}" = 1 ]; then
        UV_OFFLINE=1
        export UV_OFFLINE
    fi
    install_from=$1
    set --
    if [ "${NO_INDEX:-0}" = 1 ]; then
        set -- --no-index
    fi
    "$UV" pip install --python "$VENV/bin/python" --no-deps --require-hashes \
        --no-compile-bytecode --requirements "$install_from" "$@"
    # It is uv's own, and everybody could write to it.
    rm -f "$VENV/.lock"
    forget_local_wheels
}

# forget_local_wheels: of a wheel that lay in a folder uv notes the file's time, which is another one each time.
forget_local_wheels() {
    find "$VENV/lib" -path '*.dist-info/uv_cache.json' | while IFS= read -r note; do
        record=${note%/*}/RECORD
        # For its mode, which is not the same in all wheels.
        cp "$record" "$record.partial"
        grep -v '\.dist-info/uv_cache\.json,' "$record" >"$record.partial"
        mv -f "$record.partial" "$record"
        rm -f "$note"
    done
}

# compile_bytecode FOLDER: every source in it that has no bytecode yet. -B: what the interpreter imports
# for itself would be written in another mode. -S: a .pth file would run code of the packages.
compile_bytecode() {
    "$VENV/bin/python" -B -I -S "$layers/compile_bytecode.py" "$1"
}

# copy_tree FROM TO: files, modes and links, as one's own.
copy_tree() {
    mkdir -p "$2"
    cp -RP "$1/." "$2"
    chmod -R u+w "$2"
}

# settle PATH… [find's tests]: gives what is newer than 1980 the layer's own time.
# The times of all layers lie in 1980, so what an earlier layer settled is not touched again:
# in an image a touch would copy the file into this layer.
settle() {
    settle_to=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S 2>/dev/null ||
        date -u -r "$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S)
    settle_mark=$(mktemp)
    TZ=UTC0 touch -t 198101010000 "$settle_mark"
    TZ=UTC0 find "$@" -newer "$settle_mark" -exec touch -h -t "$settle_to" {} +
    rm -f "$settle_mark"
}
