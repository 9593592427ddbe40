# dist.sh and slurm.sh source this file. Each bad input gets one sentence.
# Both scripts set $tools, the folder of the commands, and $name, the command
# that the user has called.

fail() {
    echo "$name: error: $*" >&2
    exit 1
}

usage() {
    sed -n '2s/^# //p' "$tools/$name" >&2
    exit 2
}

need_files() {
    local file
    for file; do
        # A name such as mmdet::..., or an address; the command checks it.
        [[ $file == *::* || $file == *://* ]] && continue
        [ -f "$file" ] || fail "'$file' does not exist or is not a file"
    done
}

need_number() { # name, value
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 is '$2': give 1 or more"
}
