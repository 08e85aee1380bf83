#!/usr/bin/env bash
# lint.sh check: clang-format (dry) and clang-tidy over every C++ file, shell and Python syntax. lint.sh format: in place.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-check}

mapfile -t sources < <(find src include tests bench examples -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.hpp' \) \
  2>/dev/null | sort)

if [ "$mode" = format ]; then
  clang-format-16 -i "${sources[@]}"
  exit
fi

clang-format-16 --dry-run -Werror "${sources[@]}"
find scripts .ci tests -type f \( -name '*.sh' -o -path .ci/run \) -print0 | xargs -0 -n1 bash -n
find scripts tests -type f -name '*.py' -print0 |
  xargs -0 -r python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]'

# clang-tidy reads compile commands of configured trees that are not built, but for the headers made from RTL: clang cannot
# read g++'s precompiled header, so there is none in them, and no compiler launcher. The fuzz targets are a configuration
# of their own.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
tidy() {  # preset, which files
  cmake --preset "$1" -B "build/tidy-$1" -Wno-dev --log-level=WARNING -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
    -DM3VIT_CCACHE=OFF >/dev/null
  [ "$1" = clang ] && cmake --build build/tidy-clang --target rtl_headers >/dev/null
  run-clang-tidy-16 -quiet -j "$(nproc)" -p "build/tidy-$1" "$2" >"$log" 2>&1 && return
  # Only what is ours to mend: not the commands it echoes, nor its counts of suppressed warnings.
  grep -vE '^(clang-tidy-16 |[0-9]+ warnings? (generated|treated)|Suppressed |Use -header-filter)' "$log" | cat -s >&2
  echo "lint: clang-tidy found the above" >&2
  exit 1
}
tidy clang "^$PWD/(src|tests|bench)/"  # not the C++ made from RTL in build/
tidy fuzz "^$PWD/tests/fuzz/"
echo "lint: clean (${#sources[@]} files)"
