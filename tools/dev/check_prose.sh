#!/usr/bin/env bash
# Find the habits of writing that the guide of this project rules out:
# tools/dev/check_prose.sh prints each line that has one, and fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

status=0
find_lines() { # why, extended regular expression
    if git ls-files -z -- '*.py' '*.sh' '*.md' ':!tools/dev/check_prose.sh' |
        xargs -0 grep -nIE "$2"; then
        echo "^ $1" >&2
        status=1
    fi
}

find_lines 'a sentence needs a named subject: start with the noun' \
    '(^ *(#|"""|-) ?|^|[a-z)`]\. )(Of|What|So|Such as|That) [a-z]'
find_lines 'say "per channel", "per image": one for each' \
    '\b(numbers?|pixels|images?|gains?|offsets?|means|variances|weights?|values?|moments|programs?|launch(es)?) an? (channel|plane|GPU|step|layer|image|group|process)\b'
find_lines 'American spelling, as in torch' \
    '\b[A-Za-z_]*([Nn]ormalis|[Ss]ynchronis|[Ss]tandardis|[Cc]olour|[Cc]entre|[Bb]ehaviour|[Nn]eighbour|[Ii]nitialis|[Rr]ecognis|[Ff]avour|[Oo]ptimis|[Rr]andomis|[Ss]erialis|\b[Gg]rey\b)[a-z]*'
exit "$status"
