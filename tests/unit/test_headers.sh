#!/bin/sh
# test_headers.sh FOLDER COMPILER... - each public header compiles alone, twice, in C and in C++.
set -eu
folder=$1
shift
warnings='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only'
cxx=${CXX:-c++}
command -v "$cxx" >/dev/null || { echo "no C++ compiler"; exit 77; }
count=0
for header in "$folder"/keep/*.h; do
	name=keep/$(basename "$header")
	source="#include \"$name\"
#include \"$name\"
extern int only_so_that_the_file_is_not_empty;"
	for standard in c11 c17; do
		echo "$source" | "$@" -std=$standard $warnings -Wstrict-prototypes -I"$folder" -x c -
	done
	for standard in c++11 c++17; do
		echo "$source" | "$cxx" -std=$standard $warnings -I"$folder" -x c++ -
	done
	count=$((count + 1))
done
[ "$count" -ge 4 ]
echo "$count headers"
