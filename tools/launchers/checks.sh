# Sourced by dist.sh and slurm.sh: each mistake gets one sentence.
# They set tools, the folder, and name, the script a user called.

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
        [ -f "$file" ] || fail "'$file' does not exist or is not a file"
    done
}

need_number() { # what, its value
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 is '$2': give 1 or more"
}
